package moe4j.transformer;

import java.util.List;
import moe4j.kernels.dropout.Dropout;
import moe4j.parallel.Group;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;

/**
 * One pass of a micro-batch through the model: what every layer is handed beside the hidden state.
 * It brings the micro-batch's random numbers ({@link Chance}) and says which tokens are routed
 * together, and it takes the losses, loads and figures that layers leave behind. Each of the three
 * is a class of its own, and a pass is one of each. What is left behind belongs to the
 * native-memory scope that is open when the pass is made.
 */
public final class Pass {

  /**
   * A loss beside the main one.
   *
   * @param name Megatron's log key
   * @param layer the layer's global number, from 0
   * @param value one element, unweighted, as it is logged
   * @param coefficient its weight in the gradient
   */
  public record SideLoss(String name, int layer, Tensor value, double coefficient) {}

  /**
   * What a layer's experts got.
   *
   * @param layer the layer's global number, from 0
   * @param tokens int64 [E], rows an expert computed
   * @param routed rows that all tokens ask for, more than the tokens' sum where some were dropped
   * @param unasked int64, a scalar: how many of the routed rows are padding's, which asks for no
   *     experts; or null without padding
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

  /** Drops elements of x in a training pass; otherwise x as it is. */
  public Tensor dropout(Tensor x, double p, int layer, Operation operation) {
    return dropout(p, layer, operation).apply(x);
  }

  /**
   * The dropout of a training pass, {@link Dropout#NONE} otherwise: for a kernel that drops
   * elements while it computes something else.
   */
  public Dropout dropout(double p, int layer, Operation operation) {
    return chance.dropout(p, layer, operation);
  }

  /**
   * This pass for a gate that is given a part of the tokens on each rank of a group, and whose
   * routing is that of all of them, computed alike on every rank: {@link #gathered} brings what a
   * gate decides by together, losses count once in all, and {@link #random} draws for all tokens.
   *
   * @param ranks the group, each rank of which has an n-th of the tokens, in the ranks' order
   */
  public Pass ofSlices(Group ranks) {
    return new Pass(chance, tokens.ofSlices(ranks), outputs);
  }

  /** The same for a gate that is given all tokens on every rank of a group. */
  public Pass ofCopies(Group ranks) {
    return new Pass(chance, tokens.ofCopies(ranks), outputs);
  }

  /**
   * This pass where some tokens are padding, which no gate and no expert counts. Padding is
   * computed all the same, because shapes must not depend on data; no caller may use what comes of
   * it.
   *
   * @param isPadding bool, true for padding: one value for each of the micro-batch's tokens that
   *     are routed together, in their order, the same on every rank that has a part of them
   */
  public Pass padded(Tensor isPadding) {
    return new Pass(chance, tokens.padded(isPadding), outputs);
  }

  /** Which of the tokens that are routed together are padding: bool [T], or null for none. */
  public Tensor padding() {
    return tokens.padding();
  }

  /** How many tokens {@link #padding} says are padding: an int64 scalar, or null for none. */
  public Tensor paddingCount() {
    return tokens.paddingCount();
  }

  /**
   * The rows of all tokens that are routed together, in their order, gathered from the ranks that
   * have them. The gradient is the sum over the ranks. On one rank the rows are returned as they
   * are.
   *
   * @param rows [T/n, d], a token each
   * @return [T, d]
   */
  public Tensor gathered(Tensor rows) {
    return tokens.gathered(rows);
  }

  /**
   * Whether a gate is given all tokens that are routed together, so that rows need no gathering.
   */
  public boolean routesOwn() {
    return tokens.slices().isAlone();
  }

  /** The random numbers for the tokens that a gate is given, where these are a part of all, too. */
  public StepRandom sliceRandom() {
    return chance.slice(tokens.slices()).random();
  }

  /**
   * Leaves a loss behind; it joins the gradient with its coefficient.
   *
   * @throws IllegalArgumentException naming a loss that has not one element
   */
  public void addLoss(SideLoss loss) {
    if (loss.value().numel() != 1) {
      throw new IllegalArgumentException(
          "Layer %d left the loss %s of shape %s: it needs one element, such as a mean."
              .formatted(loss.layer(), loss.name(), Tensors.shape(loss.value())));
    }
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
