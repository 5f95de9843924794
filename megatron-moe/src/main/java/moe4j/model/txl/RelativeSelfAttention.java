package moe4j.model.txl;

import moe4j.kernels.attention.RelativeAttention;
import moe4j.kernels.product.Gemm;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Attention with memory and relative positions (Dai et al. 2019, section 3.3; upstream's {@code
 * RelPartialLearnableMultiHeadAttn} without norm and residual): {@code W_q, W_kv, W_r, W_o} are the
 * layer's own, the biases {@code u, v} all layers'.
 */
final class RelativeSelfAttention {
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
   * What the block adds, dropout not yet applied.
   *
   * @param x [B, Q, h]
   * @param context [B, K, h], the memory before x and x; without a gradient where only x has one
   * @return [B, Q, h]
   */
  Tensor forward(Tensor x, Tensor context, Segment segment) {
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
            segment.lengths().same(),
            segment.pass().dropout(dropout, layer + 1, Operation.ATTENTION_WEIGHTS));
    return Gemm.linear(mixed.view(batch, queries, heads * channels), output, null);
  }
}
