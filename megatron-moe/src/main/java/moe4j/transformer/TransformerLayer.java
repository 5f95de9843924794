package moe4j.transformer;

import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.norm.AddNorm;
import moe4j.parallel.Group;

/**
 * A pre-norm layer: {@code h = x + mixer(norm(x))}, {@code y = h + feedForward(norm(h))}. The mixer
 * is attention or takes its place.
 *
 * @param <C> what the mixer needs beside the hidden state
 */
public final class TransformerLayer<C> {
  private final int layer;
  private final double dropout;
  private final Group slices;
  private final Norm inputNorm;
  private final SequenceMixer<C> mixer;
  private final Norm feedForwardNorm;
  private FeedForward feedForward;

  /**
   * What a model's layers are like around their blocks.
   *
   * @param hiddenSize h
   * @param norm of both blocks' inputs
   * @param dropout of both blocks' outputs, in training
   */
  public record Form(int hiddenSize, Norm.Form norm, double dropout) {}

  /** Layer {@code layer} (from 0), with the scope {@code decoder.layers.N}. */
  public TransformerLayer(
      Form form,
      int layer,
      SequenceMixer.Factory<C> mixer,
      FeedForward.Factory feedForward,
      ParameterScope parameters) {
    this.layer = layer;
    this.dropout = form.dropout();
    this.slices = parameters.groups().tokenSlices();
    int h = form.hiddenSize();
    ParameterScope norms = parameters.partialWhereSliced();
    this.inputNorm = new Norm(form.norm(), norms.child("input_layernorm"), h);
    this.mixer = mixer.create(layer, parameters.child("self_attention"));
    this.feedForwardNorm = new Norm(form.norm(), norms.child("pre_mlp_layernorm"), h);
    this.feedForward = feedForward.create(layer, parameters.child("mlp"));
  }

  /** Replaces the feed-forward block; its parameters are the caller's to free. */
  public void replaceFeedForward(FeedForward block) {
    feedForward = block;
  }

  /**
   * [B, S, h] to [B, S, h], S being this rank's part of the tokens where they are sliced.
   *
   * @param x the stream, and what the layer before adds to it
   * @return the stream, and what this layer's feed-forward block adds to it
   */
  public Residual forward(Residual x, C context, Pass pass) {
    AddNorm.Result first = inputNorm.forward(x);
    Delta mixed = mixer.delta(first.normed(), context, pass);
    AddNorm.Result second =
        feedForwardNorm.forward(
            new Residual(first.sum(), mixed, drop(Operation.ATTENTION_OUTPUT, pass)));
    Delta fed = feedForward.delta(second.normed(), pass);
    return new Residual(second.sum(), fed, drop(Operation.FEED_FORWARD_OUTPUT, pass));
  }

  private Dropout drop(Operation operation, Pass pass) {
    return pass.chance().slice(slices).dropout(dropout, layer + 1, operation);
  }
}
