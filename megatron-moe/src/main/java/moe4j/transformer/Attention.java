package moe4j.transformer;

import moe4j.kernels.attention.QkvProjection;
import moe4j.kernels.attention.ScaledDotProductAttention;
import moe4j.kernels.product.Bf16Products;
import moe4j.parallel.Group;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Causal self-attention (Vaswani et al. 2017), with query groups (Ainslie et al. 2023), through
 * libtorch's {@code scaled_dot_product_attention}. Queries, keys and values are one projection in
 * Megatron's order: for each group its heads' queries, its key, its value. Each tensor-parallel
 * rank has its part of the groups.
 */
public final class Attention implements SequenceMixer<SequenceContext> {
  private final int layer;
  private final Group tensor;
  private final long groups;
  private final long headsPerGroup;
  private final long channels;
  private final double dropout;
  private final Linear qkv;
  private final Linear projection;
  private final Norm queryNorm;
  private final Norm keyNorm;

  /**
   * What a model's attentions are like.
   *
   * @param heads n
   * @param groups g, of heads that share a key and a value; as many as heads where none share
   * @param channels d, of a head
   * @param qkvBias whether the projection to queries, keys and values has a bias
   * @param dropout of the attention weights, in training
   * @param norm of the queries and of the keys, each head by itself; or null
   */
  public record Form(
      int heads, int groups, int channels, boolean qkvBias, double dropout, Norm.Form norm) {
    /** Refuses numbers below 1, and heads that cannot be divided into the groups. */
    public Form {
      if (heads < 1 || groups < 1 || channels < 1 || heads % groups != 0) {
        throw new IllegalArgumentException(
            "%d heads of %d channels cannot be divided into %d groups"
                .formatted(heads, channels, groups));
      }
    }
  }

  /** The attention of a layer, with the scope {@code decoder.layers.N.self_attention}. */
  public Attention(LayerShape shape, Form form, int layer, ParameterScope parameters) {
    this.layer = layer;
    this.tensor = parameters.groups().tensor();
    this.groups = form.groups() / tensor.size();
    this.headsPerGroup = form.heads() / form.groups();
    this.channels = form.channels();
    this.dropout = form.dropout();
    long queryChannels = (long) form.heads() * channels;
    long keyChannels = (long) form.groups() * channels;
    this.qkv =
        Linear.byOutputs(
            parameters.child("linear_qkv"),
            shape.hiddenSize(),
            queryChannels + 2 * keyChannels,
            1,
            shape.initMethodStd(),
            form.qkvBias());
    this.projection =
        Linear.byInputs(
            parameters.child("linear_proj"),
            queryChannels,
            shape.hiddenSize(),
            shape.outputStd(),
            shape.bias());
    Norm.Form norm = form.norm();
    // Each rank's heads give a part of the gradient.
    ParameterScope shared = parameters.partial();
    this.queryNorm = norm != null ? new Norm(norm, shared.child("q_layernorm"), channels) : null;
    this.keyNorm = norm != null ? new Norm(norm, shared.child("k_layernorm"), channels) : null;
  }

  /** [B, S, h] to [B, S, h]. */
  public Tensor forward(Tensor hidden, SequenceContext context, Pass pass) {
    return projection.forward(mixed(hidden, context, pass));
  }

  @Override
  public Delta delta(Tensor hidden, SequenceContext context, Pass pass) {
    return projection.withoutBias(mixed(hidden, context, pass));
  }

  /** This rank's heads' values, weighted: [B, S, h] to [B, S, n d]. */
  private Tensor mixed(Tensor hidden, SequenceContext context, Pass pass) {
    QkvProjection.Parts parts =
        qkv.heads(hidden, new QkvProjection.Heads(groups, headsPerGroup, channels));
    Tensor query = parts.query();
    long batch = query.size(0);
    long sequence = query.size(1);
    Tensor key = parts.key();
    Tensor value = parts.value();
    if (queryNorm != null) {
      query = queryNorm.forward(query);
      key = keyNorm.forward(key);
    }
    if (context.rotary() != null) {
      query = context.rotary().rotate(query, context.angles());
      key = context.rotary().rotate(key, context.angles());
    }
    Tensor mixed =
        mix(
            query.transpose(1, 2),
            spread(key.transpose(1, 2)),
            spread(value.transpose(1, 2)),
            context.allowed(),
            pass);
    return mixed.transpose(1, 2).reshape(batch, sequence, groups * headsPerGroup * channels);
  }

  /** A group's keys for each of its heads: [B, g, S, d] to [B, n, S, d]. */
  private Tensor spread(Tensor t) {
    if (headsPerGroup == 1) {
      return t;
    }
    long batch = t.size(0);
    long sequence = t.size(2);
    return t.unsqueeze(2)
        .expand(batch, groups, headsPerGroup, sequence, channels)
        .reshape(batch, groups * headsPerGroup, sequence, channels);
  }

  private Tensor mix(Tensor query, Tensor key, Tensor value, Tensor allowed, Pass pass) {
    if (dropout == 0 || !pass.isTraining()) {
      return ScaledDotProductAttention.apply(query, key, value, allowed);
    }
    // libtorch's own attention dropout draws from its generator, which has no place in a step.
    Tensor visible = allowed;
    if (visible == null) {
      long sequence = query.size(2);
      visible =
          torch
              .ones(
                  new long[] {sequence, sequence}, Tensors.options(ScalarType.Bool, query.device()))
              .tril();
    }
    Tensor scores =
        Bf16Products.matmul(query, key.transpose(2, 3))
            .mul(new Scalar(1 / Math.sqrt((double) channels)));
    Tensor hidden = visible.logical_not();
    Tensor weights =
        scores
            .to(ScalarType.Float)
            .masked_fill(hidden, new Scalar(Float.NEGATIVE_INFINITY))
            .softmax(-1)
            .to(Tensors.dtype(query));
    return Bf16Products.matmul(
        pass.chance()
            .part(tensor)
            .dropout(dropout, layer + 1, Operation.ATTENTION_WEIGHTS)
            .apply(weights),
        value);
  }
}
