package moe4j.transformer;

import java.util.List;
import moe4j.kernels.dropout.Dropout;
import moe4j.parallel.Group;
import moe4j.tensor.StepRandom;
import org.bytedeco.pytorch.Tensor;

/**
 * One way of a micro-batch through the model: what the layers need beside the hidden state, and
 * what they leave behind beside it. It holds three things: the micro-batch's {@link Chance}, which
 * tokens are routed together, and what is left behind. It belongs to the native-memory scope that
 * is open when it is made.
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

  private final Chance chance;
  private final RoutedTokens tokens;
  private final SideOutputs outputs;

  private Pass(Chance chance, RoutedTokens tokens, SideOutputs outputs) {
    this.chance = chance;
    this.tokens = tokens;
    this.outputs = outputs;
  }

  private static Pass of(Chance chance) {
    return new Pass(chance, RoutedTokens.own(), new SideOutputs());
  }

  /** A training pass: dropout and balance losses are on. */
  public static Pass training(StepRandom random) {
    return of(Chance.of(random));
  }

  /** An evaluation pass: no dropout, no balance losses. */
  public static Pass evaluation() {
    return of(Chance.none());
  }

  /** Whether dropout and balance losses are on. */
  public boolean isTraining() {
    return chance.isOn();
  }

  /** The random numbers of this micro-batch, and dropout; none in an evaluation. */
  public Chance chance() {
    return chance;
  }

  /** The random numbers of this micro-batch; of a training pass only. */
  public StepRandom random() {
    return chance.random();
  }

  /** Dropout where training. */
  public Tensor dropout(Tensor x, double p, int layer, Operation operation) {
    return dropout(p, layer, operation).apply(x);
  }

  /** The dropout of a training pass, none else, for a kernel that drops in passing. */
  public Dropout dropout(double p, int layer, Operation operation) {
    return chance.dropout(p, layer, operation);
  }

  /**
   * This pass for a gate that is given a part of the tokens on each rank of a group, and whose
   * routing is that of all of them, computed alike on every rank: {@link #gathered} brings what a
   * gate decides by together, losses count once in all, and {@link #random} draws for all tokens.
   *
   * @param ranks have each an n-th of the tokens, in their order
   */
  public Pass ofSlices(Group ranks) {
    return new Pass(chance, tokens.ofSlices(ranks), outputs);
  }

  /** The same for a gate that is given all tokens on every rank of a group. */
  public Pass ofCopies(Group ranks) {
    return new Pass(chance, tokens.ofCopies(ranks), outputs);
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
    return new Pass(chance, tokens.padded(nobodys), outputs);
  }

  /** Which of the tokens that are routed together are padding: bool [T], or null for none. */
  public Tensor padding() {
    return tokens.padding();
  }

  /**
   * Rows of all the tokens that are routed together, in their order, of this rank's rows. The
   * gradient is the sum of all ranks'. Mostly a rank has all of them already.
   *
   * @param rows [T/n, d], a token each
   * @return [T, d]
   */
  public Tensor gathered(Tensor rows) {
    return tokens.gathered(rows);
  }

  /** The random numbers for the tokens that a gate is given, be they a part of all. */
  public StepRandom sliceRandom() {
    return chance.slice(tokens.slices()).random();
  }

  /** Leaves a loss behind; it joins the gradient with its coefficient. */
  public void addLoss(SideLoss loss) {
    outputs.add(loss, tokens.share());
  }

  /** Leaves behind what a layer's experts got. */
  public void addLoad(ExpertLoad load) {
    outputs.add(load);
  }

  /** Leaves behind a figure for the log. */
  public void addFigure(Figure figure) {
    outputs.add(figure);
  }

  /** The losses left behind, in the layers' order. */
  public List<SideLoss> losses() {
    return outputs.losses();
  }

  /**
   * What a backward starts from: a main loss and the losses left behind, each with its coefficient.
   * Of a loss that several ranks have computed alike each counts a part, so that it is in all
   * ranks' gradients together once.
   *
   * @param loss a scalar
   */
  public Tensor total(Tensor loss) {
    return outputs.total(loss);
  }

  /** The loads left behind, in the layers' order. */
  public List<ExpertLoad> loads() {
    return outputs.loads();
  }

  /** The figures left behind, in the layers' order. */
  public List<Figure> figures() {
    return outputs.figures();
  }
}
