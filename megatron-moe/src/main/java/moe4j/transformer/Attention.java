package moe4j.transformer;

import moe4j.kernels.attention.QkvProjection;
import moe4j.kernels.attention.ScaledDotProductAttention;
import moe4j.kernels.product.Bf16Products;
import moe4j.model.gpt.GptConfig;
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
public final class Attention {
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

  /** The attention of a layer, with the scope {@code decoder.layers.N.self_attention}. */
  public Attention(GptConfig config, int layer, ParameterScope parameters) {
    this.layer = layer;
    this.tensor = parameters.groups().tensor();
    this.groups = config.queryGroups() / tensor.size();
    this.headsPerGroup = config.numAttentionHeads() / config.queryGroups();
    this.channels = config.kvChannels();
    this.dropout = config.attentionDropout();
    this.qkv =
        Linear.byOutputs(
            parameters.child("linear_qkv"),
            config.hiddenSize(),
            config.queryChannels() + 2L * config.keyChannels(),
            1,
            config.initMethodStd(),
            config.bias() || config.addQkvBias());
    this.projection =
        Linear.byInputs(
            parameters.child("linear_proj"),
            config.queryChannels(),
            config.hiddenSize(),
            Initial.outputStd(config),
            config.bias());
    boolean norms = config.qkLayernorm();
    // Each rank's heads give a part of the gradient.
    ParameterScope shared = parameters.partial();
    this.queryNorm = norms ? new Norm(config, shared.child("q_layernorm"), channels) : null;
    this.keyNorm = norms ? new Norm(config, shared.child("k_layernorm"), channels) : null;
  }

  /**
   * What all layers' attentions share in one pass.
   *
   * @param rotary turns queries and keys, or null
   * @param angles what {@link RotaryEmbedding#at} gave, or null
   * @param allowed bool [B, 1, S, S], true where a query may see a key; null for plain causality
   */
  public record Context(RotaryEmbedding rotary, RotaryEmbedding.Angles angles, Tensor allowed) {}

  /** [B, S, h] to [B, S, h]. */
  public Tensor forward(Tensor hidden, Context context, Pass pass) {
    return projection.forward(mixed(hidden, context, pass));
  }

  /** {@link #forward}, the projection's bias perhaps left to the layer. */
  public Delta delta(Tensor hidden, Context context, Pass pass) {
    return projection.withoutBias(mixed(hidden, context, pass));
  }

  /** This rank's heads' values, weighted: [B, S, h] to [B, S, n d]. */
  private Tensor mixed(Tensor hidden, Context context, Pass pass) {
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
        pass.dropout(dropout, layer + 1, Operation.ATTENTION_WEIGHTS, tensor).apply(weights),
        value);
  }
}
