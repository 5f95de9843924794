package moe4j.model.txl;

import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.norm.AddNorm;
import moe4j.transformer.Delta;
import moe4j.transformer.FeedForward;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.SequenceMixer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * A layer: {@code y = norm(x + mixer(x)), z = norm(y + feedForward(y))}, or with {@code
 * --pre-lnorm} {@code y = x + mixer(norm(x)), z = y + feedForward(norm(y))}, the mixer being
 * attention with a memory, or another mixer. Norms come with upstream's N(1, 0.02) and an epsilon
 * of 1e-5.
 */
final class TransformerXlLayer {
  private static final double EPSILON = 1e-5;

  private final int layer;
  private final boolean before;
  private final double dropout;
  private final SequenceMixer<SegmentContext> mixer;
  private FeedForward feedForward;
  private final Norm attentionNorm;
  private final Norm feedForwardNorm;

  private record Norm(Tensor weight, Tensor bias) {
    static Norm of(ParameterScope parameters, TransformerXlConfig config) {
      long h = config.dModel();
      return new Norm(
          parameters.drawn("weight", 1, config.initStd(), h), parameters.bias("bias", h));
    }

    Tensor forward(Tensor x) {
      return AddNorm.norm(x, weight, bias, EPSILON);
    }

    AddNorm.Result forward(Tensor residual, Delta delta, Dropout drop) {
      return AddNorm.apply(residual, delta.value(), delta.bias(), drop, weight, bias, EPSILON);
    }
  }

  /** Layer {@code layer} (from 0), with the scope {@code decoder.layers.N}. */
  TransformerXlLayer(
      TransformerXlConfig config,
      int layer,
      SequenceMixer.Factory<SegmentContext> mixer,
      FeedForward.Factory feedForward,
      ParameterScope parameters) {
    this.layer = layer;
    this.before = config.preLnorm();
    this.dropout = config.dropout();
    this.mixer = mixer.create(layer, parameters.child("self_attention"));
    this.attentionNorm = Norm.of(parameters.child("attention_layernorm"), config);
    this.feedForward = feedForward.create(layer, parameters.child("mlp"));
    this.feedForwardNorm = Norm.of(parameters.child("mlp_layernorm"), config);
  }

  /** Has another feed-forward block from now on. */
  void replaceFeedForward(FeedForward block) {
    feedForward = block;
  }

  /**
   * The layer's output.
   *
   * @param x [B, Q, h]
   * @param memory [B, M, h], what is remembered of the positions before x, or null
   * @return [B, Q, h]
   */
  Tensor forward(Tensor x, Tensor memory, Segment segment) {
    Dropout mixerDrop = segment.pass().dropout(dropout, layer + 1, Operation.ATTENTION_OUTPUT);
    Dropout feedForwardDrop =
        segment.pass().dropout(dropout, layer + 1, Operation.FEED_FORWARD_OUTPUT);
    if (before) {
      // The norm's own weights learn from the memory, too.
      Tensor normed = attentionNorm.forward(behind(memory, x));
      long queries = x.size(1);
      Tensor own = normed.narrow(1, normed.size(1) - queries, queries).contiguous();
      Delta mixed = mixer.delta(own, segment.of(normed), segment.pass());
      AddNorm.Result middle = feedForwardNorm.forward(x, mixed, mixerDrop);
      Delta fed = feedForward.delta(middle.normed(), segment.pass());
      Tensor added = fed.bias() == null ? fed.value() : fed.value().add(fed.bias());
      return middle.sum().add(feedForwardDrop.apply(added));
    }
    Delta mixed = mixer.delta(x, segment.of(behind(memory, x.detach())), segment.pass());
    Tensor middle = attentionNorm.forward(x, mixed, mixerDrop).normed();
    Delta fed = feedForward.delta(middle, segment.pass());
    return feedForwardNorm.forward(middle, fed, feedForwardDrop).normed();
  }

  private static Tensor behind(Tensor memory, Tensor x) {
    return memory == null ? x : torch.cat(new TensorVector(memory, x), 1);
  }
}
