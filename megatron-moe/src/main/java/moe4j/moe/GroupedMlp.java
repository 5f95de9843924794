package moe4j.moe;

import moe4j.kernels.ExpertMlp;
import moe4j.kernels.GroupRows;
import moe4j.kernels.GroupedMatmul;
import moe4j.kernels.Tensors;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Shard;
import moe4j.transformer.Activation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Two-layer MLPs, all experts in two grouped matrix products. The routing weight is applied between
 * the projections: the second is linear, so that is the same function, and its output need not be
 * kept for the backward. A second bias is weighted by itself.
 */
public final class GroupedMlp implements Experts {

  /**
   * What the experts are like.
   *
   * @param experts E
   * @param hiddenSize h
   * @param expertHiddenSize f
   * @param bias whether both layers have one
   * @param std standard deviation of the first layer's initial weights
   * @param outputStd the same of the second
   */
  public record Shape(
      int experts,
      long hiddenSize,
      long expertHiddenSize,
      Activation activation,
      boolean bias,
      double std,
      double outputStd) {}

  private final Activation activation;
  private final ExpertMlp.Weights weights;

  /**
   * The experts of a layer, with the scope {@code decoder.layers.N.mlp.experts}.
   *
   * @throws IllegalArgumentException if a size is not one that grouped products take
   */
  public GroupedMlp(Shape shape, ParameterScope parameters) {
    ExpertRange experts = ExpertRange.all(shape.experts());
    long h = shape.hiddenSize();
    long f = shape.expertHiddenSize();
    this.activation = shape.activation();
    long inner = activation.inputs() * f;
    Tensor fc1 =
        parameters.expertWeights("linear_fc1.weight", experts, shape.std(), Shard.WHOLE, inner, h);
    Tensor bias1 =
        shape.bias()
            ? parameters.expertBiases("linear_fc1.bias", experts, Shard.WHOLE, inner)
            : null;
    Tensor fc2 =
        parameters.expertWeights(
            "linear_fc2.weight", experts, shape.outputStd(), Shard.WHOLE, h, f);
    Tensor bias2 =
        shape.bias() ? parameters.expertBiases("linear_fc2.bias", experts, Shard.WHOLE, h) : null;
    this.weights = new ExpertMlp.Weights(fc1, bias1, fc2, bias2);
    long multiple = ExpertMlp.takes(fc1) ? 1 : GroupedMatmul.multiple(fc1);
    if (h % multiple != 0 || f % multiple != 0) {
      throw new IllegalArgumentException(
          "--hidden-size %d and --moe-ffn-hidden-size %d: experts in %s need multiples of %d"
              .formatted(h, f, parameters.dtype() == ScalarType.Float ? "fp32" : "bf16", multiple));
    }
  }

  @Override
  public Tensor forward(Dispatched dispatched, Pass pass) {
    Tensor rows = dispatched.rows();
    Tensor offsets = dispatched.offsets();
    if (ExpertMlp.takes(weights.fc1())) {
      Tensor weight = dispatched.weight().to(Tensors.dtype(rows));
      return ExpertMlp.apply(rows, weight, weights, offsets, activation);
    }
    long count = rows.size(0);
    Tensor inner = GroupedMatmul.linear(rows, weights.fc1(), offsets);
    if (weights.bias1() != null) {
      inner = inner.add(GroupRows.of(weights.bias1(), offsets, count));
    }
    Tensor weighted = activation.weighted(inner, dispatched.weight());
    Tensor outer = GroupedMatmul.linear(weighted, weights.fc2(), offsets);
    if (weights.bias2() == null) {
      return outer;
    }
    Tensor weight = dispatched.weight().to(Tensors.dtype(rows)).unsqueeze(1);
    return outer.add(GroupRows.of(weights.bias2(), offsets, count).mul(weight));
  }
}
