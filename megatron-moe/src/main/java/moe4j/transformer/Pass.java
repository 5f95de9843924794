package moe4j.transformer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.dropout.Dropout;
import moe4j.parallel.Group;
import moe4j.parallel.Mappings;
import moe4j.tensor.StepRandom;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * One way of a micro-batch through the model: what the layers need beside the hidden state, and
 * what they leave behind beside it. It belongs to the native-memory scope that is open when it is
 * made.
 */
public final class Pass {

  /**
   * A loss beside the main one.
   *
   * @param name Megatron's log key
   * @param layer the layer's global number, from 0
   * @param value a scalar, unweighted, as it is logged
   * @param coefficient its weight in the gradient
   */
  public record SideLoss(String name, int layer, Tensor value, double coefficient) {}

  /**
   * What a layer's experts got.
   *
   * @param layer the layer's global number, from 0
   * @param tokens int64 [E], rows an expert computed
   * @param routed rows that all tokens ask for, more than the tokens' sum where some were dropped
   * @param unasked int64, a scalar: how many of these are padding's, for which nobody has asked; or
   *     null without padding
   */
  public record ExpertLoad(int layer, Tensor tokens, long routed, Tensor unasked) {

    /** The load of a layer whose tokens are all real. */
    public ExpertLoad(int layer, Tensor tokens, long routed) {
      this(layer, tokens, routed, null);
    }
  }

  /**
   * A figure for the log, such as a router's entropy: no part of any gradient.
   *
   * @param name the key it is logged under
   * @param layer the layer's global number, from 0
   * @param value a scalar, the micro-batch's mean
   */
  public record Figure(String name, int layer, Tensor value) {}

  /** What a pass leaves behind, and whose memory it is. */
  private static final class Left {
    final PointerScope home = PointerScope.getInnerScope();
    final List<SideLoss> losses = new ArrayList<>();
    final List<Double> shares = new ArrayList<>();
    final List<ExpertLoad> loads = new ArrayList<>();
    final List<Figure> figures = new ArrayList<>();
  }

  private final StepRandom random;
  private final Left left;

  /** The ranks that leave the same losses, each of which counts a part. */
  private final Group copies;

  /** The ranks among which the tokens are that a gate is given. */
  private final Group slices;

  /** Which tokens are nobody's: bool [T], or null. */
  private final Tensor padding;

  private Pass(StepRandom random) {
    this(random, new Left(), Group.alone(), Group.alone(), null);
  }

  private Pass(StepRandom random, Left left, Group copies, Group slices, Tensor padding) {
    this.random = random;
    this.left = left;
    this.copies = copies;
    this.slices = slices;
    this.padding = padding;
  }

  /** A training pass: dropout and balance losses are on. */
  public static Pass training(StepRandom random) {
    return new Pass(random);
  }

  /** An evaluation pass: no dropout, no balance losses. */
  public static Pass evaluation() {
    return new Pass(null);
  }

  /** Whether dropout and balance losses are on. */
  public boolean isTraining() {
    return random != null;
  }

  /** The random numbers of this micro-batch; of a training pass only. */
  public StepRandom random() {
    if (random == null) {
      throw new IllegalStateException("an evaluation pass draws no random numbers");
    }
    return random;
  }

  /** Dropout where training. */
  public Tensor dropout(Tensor x, double p, int layer, Operation operation) {
    return dropout(p, layer, operation).apply(x);
  }

  /** The dropout of a training pass, none else, for a kernel that drops in passing. */
  public Dropout dropout(double p, int layer, Operation operation) {
    return random == null ? Dropout.NONE : new Dropout(random, p, layer, operation.id());
  }

  /** The dropout of something that all of a step's samples share: one draw, on every rank. */
  public Dropout sharedDropout(double p, int layer, Operation operation) {
    return random == null ? Dropout.NONE : new Dropout(random.common(), p, layer, operation.id());
  }

  /**
   * The same for one of several pieces whose places in a whole are not known: each draws for
   * itself.
   *
   * @param piece its number, from 0
   */
  public Dropout sharedDropout(double p, int layer, Operation operation, int piece) {
    return random == null
        ? Dropout.NONE
        : new Dropout(random.shared().branch(piece), p, layer, operation.id());
  }

  /**
   * {@link #dropout(double, int, Operation)} of a tensor of which each rank of a group has an n-th
   * of the tokens, in the ranks' order.
   */
  public Dropout slicedDropout(double p, int layer, Operation operation, Group slices) {
    return random == null
        ? Dropout.NONE
        : new Dropout(random.slice(slices.rank(), slices.size()), p, layer, operation.id());
  }

  /**
   * {@link #dropout(double, int, Operation)} of a tensor of which each rank of a group has an n-th:
   * of each sample one contiguous part, in the ranks' order.
   */
  public Dropout dropout(double p, int layer, Operation operation, Group parts) {
    return random == null
        ? Dropout.NONE
        : new Dropout(random.part(parts.rank(), parts.size()), p, layer, operation.id());
  }

  /**
   * This pass for a gate that is given a part of the tokens on each rank of a group, and whose
   * routing is that of all of them, computed alike on every rank: {@link #gathered} brings what a
   * gate decides by together, losses count once in all, and {@link #random} draws for all tokens.
   *
   * @param ranks have each an n-th of the tokens, in their order
   */
  public Pass ofSlices(Group ranks) {
    return new Pass(random, left, ranks, ranks, padding);
  }

  /** The same for a gate that is given all tokens on every rank of a group. */
  public Pass ofCopies(Group ranks) {
    return new Pass(random, left, ranks, Group.alone(), padding);
  }

  /**
   * This pass where some tokens are padding: there are none of them, as far as experts are
   * concerned. They are computed all the same, as shapes do not depend on data, and what comes of
   * them is to be used by nobody.
   *
   * @param nobodys bool, true for padding, as many as all of the micro-batch's tokens that are
   *     routed together, in their order, on every rank that has a part of them
   */
  public Pass padded(Tensor nobodys) {
    return new Pass(random, left, copies, slices, nobodys.flatten());
  }

  /** Which of the tokens that are routed together are padding: bool [T], or null for none. */
  public Tensor padding() {
    return padding;
  }

  /**
   * Rows of all the tokens that are routed together, in their order, of this rank's rows. The
   * gradient is the sum of all ranks'. Mostly a rank has all of them already.
   *
   * @param rows [T/n, d], a token each
   * @return [T, d]
   */
  public Tensor gathered(Tensor rows) {
    if (slices.isAlone()) {
      return rows;
    }
    return Mappings.gather(rows.unsqueeze(0), slices).squeeze(0);
  }

  /** The random numbers for the tokens that a gate is given, be they a part of all. */
  public StepRandom sliceRandom() {
    return random().slice(slices.rank(), slices.size());
  }

  /** Leaves a loss behind; it joins the gradient with its coefficient. */
  public void addLoss(SideLoss loss) {
    left.shares.add(1.0 / copies.size());
    left.losses.add(
        new SideLoss(loss.name(), loss.layer(), keep(loss.value()), loss.coefficient()));
  }

  /** Leaves behind what a layer's experts got. */
  public void addLoad(ExpertLoad load) {
    left.loads.add(
        new ExpertLoad(
            load.layer(),
            keep(load.tokens()),
            load.routed(),
            load.unasked() == null ? null : keep(load.unasked())));
  }

  /** Leaves behind a figure for the log. */
  public void addFigure(Figure figure) {
    left.figures.add(new Figure(figure.name(), figure.layer(), keep(figure.value().detach())));
  }

  /** The losses left behind, in the layers' order. */
  public List<SideLoss> losses() {
    return left.losses;
  }

  /**
   * What a backward starts from: a main loss and the losses left behind, each with its coefficient.
   * Of a loss that several ranks have computed alike each counts a part, so that it is in all
   * ranks' gradients together once.
   *
   * @param loss a scalar
   */
  public Tensor total(Tensor loss) {
    Tensor total = loss;
    for (int i = 0; i < left.losses.size(); i++) {
      SideLoss side = left.losses.get(i);
      double weight = side.coefficient() * left.shares.get(i);
      total = total.add(side.value().mul(new Scalar(weight)));
    }
    return total;
  }

  /** The loads left behind, in the layers' order. */
  public List<ExpertLoad> loads() {
    return left.loads;
  }

  /** The figures left behind, in the layers' order. */
  public List<Figure> figures() {
    return left.figures;
  }

  /** Lets a tensor outlive the layer's scope in which it was made. */
  private Tensor keep(Tensor t) {
    if (left.home != null) {
      left.home.attach(t);
    } else {
      t.retainReference();
    }
    return t;
  }
}
