package moe4j.model.txl;

import moe4j.kernels.activation.ReluDropout;
import moe4j.kernels.dropout.Dropout;
import moe4j.transformer.Delta;
import moe4j.transformer.FeedForward;
import moe4j.transformer.Linear;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/** Upstream's feed-forward block: {@code W_2 dropout(relu(W_1 x + b_1)) + b_2}. */
final class PositionwiseFeedForward implements FeedForward {
  private final int layer;
  private final double dropout;
  private final Linear fc1;
  private final Linear fc2;

  /** The block of a layer, with the scope {@code decoder.layers.N.mlp}. */
  PositionwiseFeedForward(TransformerXlConfig config, int layer, ParameterScope parameters) {
    this.layer = layer;
    this.dropout = config.dropout();
    long h = config.dModel();
    long f = config.dInner();
    double std = config.initStd();
    this.fc1 = new Linear(parameters.child("linear_fc1"), h, f, std, true);
    this.fc2 = new Linear(parameters.child("linear_fc2"), f, h, std, true);
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
    Tensor x = product.value();
    return ReluDropout.apply(x.flatten(0, 1), product.bias(), null, null, drop).view(x.shape());
  }
}
