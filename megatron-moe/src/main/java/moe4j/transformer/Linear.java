package moe4j.transformer;

import moe4j.kernels.attention.QkvProjection;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.product.Gemm;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.Mappings;
import moe4j.parallel.Shard;
import org.bytedeco.pytorch.Tensor;

/**
 * {@code y = x W^T + b} with W [out, in]: all of it on every rank, or a part of W on each of the
 * tensor-parallel ranks (Shoeybi et al. 2019). Of a pair of layers the first is cut by its outputs,
 * {@link #byOutputs}, and the second by its inputs, {@link #byInputs}: between them each rank has
 * its part of the channels, and before and behind them hidden states are whole, or under sequence
 * parallelism (Korthikanti et al. 2022) each rank's part of the tokens.
 */
public final class Linear {
  private enum Cut {
    NONE,
    OUTPUTS,
    INPUTS
  }

  private final Cut cut;
  private final Group group;
  private final boolean slices;
  private final Tensor weight;
  private final Tensor bias;

  /**
   * A layer all of which is on every rank.
   *
   * @param parameters its scope, which gets {@code weight} and {@code bias}
   * @param std standard deviation of the initial weights
   * @param bias whether there is one
   */
  public Linear(ParameterScope parameters, long in, long out, double std, boolean bias) {
    this(
        Cut.NONE,
        parameters,
        parameters.weight("weight", std, out, in),
        bias ? parameters.bias("bias", out) : null);
  }

  private Linear(Cut cut, ParameterScope parameters, Tensor weight, Tensor bias) {
    Groups groups = parameters.groups();
    this.cut = groups.tensor().isAlone() ? Cut.NONE : cut;
    this.group = groups.tensor();
    this.slices = groups.slicesTokens();
    this.weight = weight;
    this.bias = bias;
  }

  /**
   * A layer of which each tensor-parallel rank computes an n-th of the outputs, for all tokens.
   *
   * @param blocks how many equal blocks the outputs consist of; each rank gets an n-th of each
   *     block
   */
  public static Linear byOutputs(
      ParameterScope parameters, long in, long out, int blocks, double std, boolean bias) {
    Shard shard = Shard.of(parameters.groups().tensor(), 0, blocks);
    return new Linear(
        Cut.OUTPUTS,
        parameters,
        parameters.weight("weight", std, shard, out, in),
        bias ? parameters.bias("bias", shard, out) : null);
  }

  /**
   * A layer of which each tensor-parallel rank has an n-th of the inputs; the ranks' products are
   * summed. Its bias is on every rank.
   */
  public static Linear byInputs(
      ParameterScope parameters, long in, long out, double std, boolean bias) {
    Shard shard = Shard.of(parameters.groups().tensor(), 1);
    return new Linear(
        Cut.INPUTS,
        parameters,
        parameters.weight("weight", std, shard, out, in),
        bias ? parameters.partialWhereSliced().bias("bias", out) : null);
  }

  /**
   * {@link #forward}, except that on a GPU the bias is left to the kernel that comes next, which is
   * faster there. On a CPU the product adds it at no cost.
   */
  public Delta withoutBias(Tensor x) {
    return bias != null && Kernels.take(x)
        ? new Delta(summed(product(x, null)), bias)
        : new Delta(forward(x), null);
  }

  /** {@link QkvProjection#apply} with this layer's weight and bias. */
  public QkvProjection.Parts heads(Tensor x, QkvProjection.Heads heads) {
    if (cut == Cut.OUTPUTS && slices) {
      return QkvProjection.split(product(x, bias), heads);
    }
    return QkvProjection.apply(
        cut == Cut.OUTPUTS ? Mappings.copy(x, group) : x, weight, bias, heads);
  }

  /** [..., in] to [..., out]; where ranks share the layer, [B, S, ...]. */
  public Tensor forward(Tensor x) {
    if (cut != Cut.INPUTS) {
      return product(x, bias);
    }
    Tensor y = summed(Gemm.linear(x, weight, null));
    return bias == null ? y : y.add(bias);
  }

  /** The product with this rank's weight, of all tokens. */
  private Tensor product(Tensor x, Tensor added) {
    if (cut != Cut.OUTPUTS) {
      return Gemm.linear(x, weight, added);
    }
    return slices
        ? GatheredLinear.apply(x, weight, added, group)
        : Gemm.linear(Mappings.copy(x, group), weight, added);
  }

  private Tensor summed(Tensor y) {
    if (cut != Cut.INPUTS) {
      return y;
    }
    return slices ? Mappings.reduceScatter(y, group) : Mappings.reduce(y, group);
  }
}
