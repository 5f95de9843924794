package moe4j.transformer;

import moe4j.kernels.dropout.Dropout;
import org.bytedeco.pytorch.Tensor;

/**
 * The dense feed-forward block: {@code fc2(dropout(act(fc1(x))))}, each tensor-parallel rank with
 * its part of the hidden channels.
 */
public final class Mlp implements FeedForward {
  private final int layer;
  private final double dropout;
  private final Linear fc1;
  private final Linear fc2;
  private final Activation activation;

  /**
   * A block of the shape's hidden size.
   *
   * @param layer the layer's global number, from 0, by which its dropout is drawn
   */
  public Mlp(LayerShape shape, int layer, ParameterScope parameters) {
    int ranks = parameters.groups().tensor().size();
    if (shape.innerDropout() > 0 && ranks > 1) {
      throw new IllegalArgumentException(
          "feed-forward blocks with dropout within cannot be divided: they need"
              + " --tensor-model-parallel-size 1, not %d".formatted(ranks));
    }
    this.layer = layer;
    this.dropout = shape.innerDropout();
    long h = shape.hiddenSize();
    long f = shape.ffnHiddenSize();
    this.activation = shape.activation();
    this.fc1 =
        Linear.byOutputs(
            parameters.child("linear_fc1"),
            h,
            activation.inputs() * f,
            activation.inputs(),
            shape.initMethodStd(),
            shape.bias());
    this.fc2 =
        Linear.byInputs(parameters.child("linear_fc2"), f, h, shape.outputStd(), shape.bias());
  }

  @Override
  public Tensor forward(Tensor hidden, Pass pass) {
    return fc2.forward(inner(hidden, pass));
  }

  @Override
  public Delta delta(Tensor hidden, Pass pass) {
    return fc2.withoutBias(inner(hidden, pass));
  }

  private Tensor inner(Tensor hidden, Pass pass) {
    Delta product = fc1.withoutBias(hidden);
    Dropout drop = pass.dropout(dropout, layer + 1, Operation.FEED_FORWARD_HIDDEN);
    return activation.apply(product.value(), product.bias(), drop);
  }
}
