package moe4j.transformer;

import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.norm.AddNorm;
import moe4j.model.gpt.GptConfig;
import moe4j.parallel.Group;

/** A pre-norm layer: {@code h = x + attention(norm(x))}, {@code y = h + feedForward(norm(h))}. */
public final class TransformerLayer {
  private final int layer;
  private final double dropout;
  private final Group slices;
  private final Norm inputNorm;
  private final Attention attention;
  private final Norm feedForwardNorm;
  private FeedForward feedForward;

  /** Layer {@code layer} (from 0), with the scope {@code decoder.layers.N}. */
  public TransformerLayer(
      GptConfig config, int layer, FeedForward.Factory feedForward, ParameterScope parameters) {
    this.layer = layer;
    this.dropout = config.hiddenDropout();
    this.slices = parameters.groups().tokenSlices();
    ParameterScope norms = parameters.partialWhereSliced();
    this.inputNorm = new Norm(config, norms.child("input_layernorm"), config.hiddenSize());
    this.attention = new Attention(config, layer, parameters.child("self_attention"));
    this.feedForwardNorm = new Norm(config, norms.child("pre_mlp_layernorm"), config.hiddenSize());
    this.feedForward = feedForward.create(layer, parameters.child("mlp"));
  }

  /** Has another feed-forward block from now on. */
  public void replaceFeedForward(FeedForward block) {
    feedForward = block;
  }

  /**
   * [B, S, h] to [B, S, h], S being this rank's part of the tokens where they are sliced.
   *
   * @param x the stream, and what the layer before adds to it
   * @return the stream, and what this layer's feed-forward block adds to it
   */
  public Residual forward(Residual x, Attention.Context context, Pass pass) {
    AddNorm.Result first = inputNorm.forward(x);
    Delta attended = attention.delta(first.normed(), context, pass);
    AddNorm.Result second =
        feedForwardNorm.forward(
            new Residual(first.sum(), attended, drop(Operation.ATTENTION_OUTPUT, pass)));
    Delta fed = feedForward.delta(second.normed(), pass);
    return new Residual(second.sum(), fed, drop(Operation.FEED_FORWARD_OUTPUT, pass));
  }

  private Dropout drop(Operation operation, Pass pass) {
    return pass.slicedDropout(dropout, layer + 1, operation, slices);
  }
}
