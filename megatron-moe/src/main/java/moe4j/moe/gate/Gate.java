package moe4j.moe.gate;

import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * Decides which experts a token goes to, and with what weight. Written in ordinary tensor code: the
 * gradient of the weights finds its way to the gate's parameters by itself. Nothing in it asks the
 * device, so that a step can be captured.
 */
@FunctionalInterface
public interface Gate {
  /**
   * Whether {@link #route} takes this rank's part of the tokens where several tensor-parallel ranks
   * have each a part, and brings together itself what it decides by ({@link Pass#gathered}), as a
   * {@link RouterLinear} does. Others are given all tokens on every rank. In either case the
   * routing is that of all tokens, the same on all these ranks.
   */
  default boolean takesSlices() {
    return false;
  }

  /**
   * Routes tokens.
   *
   * @param hidden [T, h]; a part of the rows where {@link #takesSlices} says so
   * @param pass takes the gate's losses and figures, and has the random numbers a gate may draw
   */
  Routing route(Tensor hidden, Pass pass);

  /**
   * What a gate is made for.
   *
   * @param layer the layer's global number, from 0; random numbers are keyed by it
   * @param hiddenSize h
   * @param experts E
   * @param topk k, the experts a token goes to
   * @param initMethodStd standard deviation of initial weights
   * @param lossWeight what the gate's balance loss counts in this layer
   */
  record Shape(
      int layer, int hiddenSize, int experts, int topk, double initMethodStd, double lossWeight) {

    /** Refuses what cannot be. */
    public Shape {
      if (topk < 1 || topk > experts) {
        throw new IllegalArgumentException(
            "%d experts a token are not between 1 and %d".formatted(topk, experts));
      }
    }

    /** A gate of a first layer, usual initial weights, a loss weight of 0.01. */
    public static Shape of(int hiddenSize, int experts, int topk) {
      return new Shape(0, hiddenSize, experts, topk, 0.02, 0.01);
    }
  }

  /**
   * Makes gates. A class with a constructor without arguments that implements this can be named on
   * the command line, as {@code --balance-strategy CLASS}.
   */
  @FunctionalInterface
  interface Factory {
    /**
     * Makes the gate of a layer.
     *
     * @param parameters the gate's scope, {@code decoder.layers.N.mlp.router}
     */
    Gate create(Shape shape, ParameterScope parameters);

    /**
     * The same where the flags ask for something of the experts' room, which a factory takes whose
     * {@link #spec} says so. Others need not know of it.
     */
    default Gate create(Shape shape, Room room, ParameterScope parameters) {
      return create(shape, parameters);
    }

    /**
     * What the gates are like. What is not said is unknown: then the gate is taken to even the
     * load, may have a loss, takes no flags of a capacity, and is not upcycled to.
     */
    default GateSpec spec() {
      return GateSpec.named(getClass().getName());
    }
  }
}
