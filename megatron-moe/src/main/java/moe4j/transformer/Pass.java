package moe4j.transformer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.Dropout;
import moe4j.kernels.StepRandom;
import moe4j.parallel.Group;
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
   * @param routed rows that were asked for, more than the tokens' sum where some were dropped
   */
  public record ExpertLoad(int layer, Tensor tokens, long routed) {}

  /**
   * A figure for the log, such as a router's entropy: no part of any gradient.
   *
   * @param name the key it is logged under
   * @param layer the layer's global number, from 0
   * @param value a scalar, the micro-batch's mean
   */
  public record Figure(String name, int layer, Tensor value) {}

  private final PointerScope home = PointerScope.getInnerScope();
  private final StepRandom random;
  private final List<SideLoss> losses = new ArrayList<>();
  private final List<ExpertLoad> loads = new ArrayList<>();
  private final List<Figure> figures = new ArrayList<>();

  private Pass(StepRandom random) {
    this.random = random;
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

  /**
   * {@link #dropout(double, int, Operation)} of a tensor of which each rank of a group has an n-th:
   * of each sample one contiguous part, in the ranks' order.
   */
  public Dropout dropout(double p, int layer, Operation operation, Group parts) {
    return random == null
        ? Dropout.NONE
        : new Dropout(random.part(parts.rank(), parts.size()), p, layer, operation.id());
  }

  /** Leaves a loss behind; it joins the gradient with its coefficient. */
  public void addLoss(SideLoss loss) {
    losses.add(new SideLoss(loss.name(), loss.layer(), keep(loss.value()), loss.coefficient()));
  }

  /** Leaves behind what a layer's experts got. */
  public void addLoad(ExpertLoad load) {
    loads.add(new ExpertLoad(load.layer(), keep(load.tokens()), load.routed()));
  }

  /** Leaves behind a figure for the log. */
  public void addFigure(Figure figure) {
    figures.add(new Figure(figure.name(), figure.layer(), keep(figure.value().detach())));
  }

  /** The losses left behind, in the layers' order. */
  public List<SideLoss> losses() {
    return losses;
  }

  /**
   * What a backward starts from: a main loss and the losses left behind, each with its coefficient.
   *
   * @param loss a scalar
   */
  public Tensor total(Tensor loss) {
    Tensor total = loss;
    for (SideLoss side : losses) {
      total = total.add(side.value().mul(new Scalar(side.coefficient())));
    }
    return total;
  }

  /** The loads left behind, in the layers' order. */
  public List<ExpertLoad> loads() {
    return loads;
  }

  /** The figures left behind, in the layers' order. */
  public List<Figure> figures() {
    return figures;
  }

  /** Lets a tensor outlive the layer's scope in which it was made. */
  private Tensor keep(Tensor t) {
    if (home != null) {
      home.attach(t);
    } else {
      t.retainReference();
    }
    return t;
  }
}
