package moe4j.transformer;

import org.bytedeco.pytorch.Tensor;

/** A pre-norm layer: {@code h = x + attention(norm(x))}, {@code y = h + feedForward(norm(h))}. */
public final class TransformerLayer {
  private final int layer;
  private final double dropout;
  private final Norm inputNorm;
  private final Attention attention;
  private final Norm feedForwardNorm;
  private final FeedForward feedForward;

  /** Layer {@code layer} (from 0), with the scope {@code decoder.layers.N}. */
  public TransformerLayer(
      TransformerConfig config,
      int layer,
      FeedForward.Factory feedForward,
      ParameterScope parameters) {
    this.layer = layer;
    this.dropout = config.hiddenDropout();
    this.inputNorm = new Norm(config, parameters.child("input_layernorm"), config.hiddenSize());
    this.attention = new Attention(config, layer, parameters.child("self_attention"));
    this.feedForwardNorm =
        new Norm(config, parameters.child("pre_mlp_layernorm"), config.hiddenSize());
    this.feedForward = feedForward.create(layer, parameters.child("mlp"));
  }

  /** [B, S, h] to [B, S, h]. */
  public Tensor forward(Tensor hidden, Attention.Context context, Pass pass) {
    Tensor attended = attention.forward(inputNorm.forward(hidden), context, pass);
    Tensor between = hidden.add(drop(attended, Operation.ATTENTION_OUTPUT, pass));
    Tensor fed = feedForward.forward(feedForwardNorm.forward(between), pass);
    return between.add(drop(fed, Operation.FEED_FORWARD_OUTPUT, pass));
  }

  private Tensor drop(Tensor x, Operation operation, Pass pass) {
    return pass.dropout(x, dropout, layer + 1, operation);
  }
}
