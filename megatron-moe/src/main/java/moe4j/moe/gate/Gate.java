package moe4j.moe.gate;

import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * Decides which experts a token goes to, and with what weight. A gate is ordinary tensor code:
 * autograd brings the gradient of the weights to the gate's parameters. It must not ask the device
 * for values, so that a step can be captured.
 */
@FunctionalInterface
public interface Gate {
  /**
   * Whether {@link #route} takes this rank's part of the tokens where each of several
   * tensor-parallel ranks has a part. Such a gate itself gathers what it decides by, with {@link
   * Pass#gathered}, as a {@link RouterLinear} does. Other gates are given all tokens on every rank.
   * In either case the routing is of all tokens, and the same on all these ranks.
   */
  default boolean takesSlices() {
    return false;
  }

  /**
   * Whether {@link #route} gives no routes to the tokens that the pass says are padding ({@link
   * Pass#padding}). A gate need not know of padding: where it says no, the layer takes padding's
   * routes out itself, which costs time.
   */
  default boolean leavesPaddingOut() {
    return false;
  }

  /**
   * Routes tokens.
   *
   * @param hidden [T, h]; a part of the rows where {@link #takesSlices} says so
   * @param pass takes the gate's losses and figures, and has the random numbers a gate may draw
   * @return the routes of all T tokens
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
   * @param lossWeight the weight of the gate's balance loss in this layer
   */
  record Shape(
      int layer, int hiddenSize, int experts, int topk, double initMethodStd, double lossWeight) {

    /** Refuses a k below 1 or above E. */
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
     * Makes the gate of a layer whose flags may ask for a capacity. Factories whose {@link #spec}
     * has a {@link GateSpec.Limit} that takes a factor override this, and have the other method
     * call it with {@link Room#UNASKED}. Others need not know of it.
     *
     * @param room the capacity that the flags ask for
     */
    default Gate create(Shape shape, Room room, ParameterScope parameters) {
      return create(shape, parameters);
    }

    /**
     * What the gates are like. By default nothing is known of them: the gate is then taken to even
     * the load, may have a loss, takes no flags of a capacity, and is not upcycled to.
     */
    default GateSpec spec() {
      return GateSpec.named(getClass().getName());
    }
  }
}
