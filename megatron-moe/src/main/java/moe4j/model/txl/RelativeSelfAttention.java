package moe4j.model.txl;

import moe4j.kernels.attention.RelativeAttention;
import moe4j.kernels.product.Gemm;
import moe4j.transformer.Delta;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import moe4j.transformer.SequenceMixer;
import org.bytedeco.pytorch.Tensor;

/**
 * Attention with memory and relative positions (Dai et al. 2019, section 3.3; upstream's {@code
 * RelPartialLearnableMultiHeadAttn} without norm and residual): {@code W_q, W_kv, W_r, W_o} are the
 * layer's own, the biases {@code u, v} all layers'.
 */
final class RelativeSelfAttention implements SequenceMixer<SegmentContext> {
  private final int layer;
  private final long heads;
  private final long channels;
  private final double dropout;
  private final Tensor query;
  private final Tensor keyValue;
  private final Tensor position;
  private final Tensor output;
  private final Tensor contentBias;
  private final Tensor positionBias;

  /**
   * The attention of a layer.
   *
   * @param contentBias u, [n, d]
   * @param positionBias v, [n, d]
   * @param parameters the scope {@code decoder.layers.N.self_attention}
   */
  RelativeSelfAttention(
      TransformerXlConfig config,
      int layer,
      Tensor contentBias,
      Tensor positionBias,
      ParameterScope parameters) {
    this.layer = layer;
    this.heads = config.nHead();
    this.channels = config.dHead();
    this.dropout = config.dropatt();
    long h = config.dModel();
    long inner = heads * channels;
    double std = config.initStd();
    this.query = parameters.weight("linear_q.weight", std, inner, h);
    this.keyValue = parameters.weight("linear_kv.weight", std, 2 * inner, h);
    this.position = parameters.weight("linear_r.weight", std, inner, h);
    this.output = parameters.weight("linear_proj.weight", std, h, inner);
    this.contentBias = contentBias;
    this.positionBias = positionBias;
  }

  /**
   * What makes a model's attentions, which share the biases.
   *
   * @param decoder the scope of what layers share
   */
  static SequenceMixer.Factory<SegmentContext> factory(
      TransformerXlConfig config, ParameterScope decoder) {
    double std = config.initStd();
    Tensor u = decoder.drawn("r_w_bias", 0, std, config.nHead(), config.dHead());
    Tensor v = decoder.drawn("r_r_bias", 0, std, config.nHead(), config.dHead());
    return (layer, scope) -> new RelativeSelfAttention(config, layer, u, v, scope);
  }

  @Override
  public Delta delta(Tensor x, SegmentContext segment, Pass pass) {
    Tensor context = segment.seen();
    long batch = x.size(0);
    long queries = x.size(1);
    long keys = context.size(1);
    ContextProjection.Result projected =
        context.requires_grad()
            ? new ContextProjection.Result(
                Gemm.linear(x, query, null), Gemm.linear(context, keyValue, null))
            : ContextProjection.of(x, context, query, keyValue);
    Tensor q = projected.queries().view(batch, queries, heads, channels);
    Tensor kv = projected.keysAndValues().view(batch, keys, 2, heads, channels);
    Tensor r = Gemm.linear(segment.positions(), position, null).view(keys, heads, channels);
    Tensor mixed =
        RelativeAttention.apply(
            q,
            kv,
            r,
            contentBias,
            positionBias,
            segment.first(),
            segment.same(),
            pass.dropout(dropout, layer + 1, Operation.ATTENTION_WEIGHTS));
    Tensor rows = mixed.view(batch, queries, heads * channels);
    return new Delta(Gemm.linear(rows, output, null), null);
  }
}
