package moe4j.transformer;

import org.bytedeco.pytorch.Tensor;

/**
 * The dense feed-forward block: {@code fc2(act(fc1(x)))}, each tensor-parallel rank with its part
 * of the hidden channels.
 */
public final class Mlp implements FeedForward {
  private final Linear fc1;
  private final Linear fc2;
  private final Activation activation;

  /** A block of the shape's hidden size. */
  public Mlp(LayerShape shape, ParameterScope parameters) {
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
    return fc2.forward(inner(hidden));
  }

  @Override
  public Delta delta(Tensor hidden, Pass pass) {
    return fc2.withoutBias(inner(hidden));
  }

  private Tensor inner(Tensor hidden) {
    Delta product = fc1.withoutBias(hidden);
    return activation.apply(product.value(), product.bias());
  }
}
