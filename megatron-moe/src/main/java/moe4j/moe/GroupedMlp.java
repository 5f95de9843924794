package moe4j.moe;

import moe4j.kernels.ExpertMlp;
import moe4j.kernels.GroupRows;
import moe4j.kernels.GroupedMatmul;
import moe4j.kernels.Tensors;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Group;
import moe4j.parallel.Shard;
import moe4j.transformer.Activation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
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
   * The experts of a layer that this rank has, or its part of them, with the scope {@code
   * decoder.layers.N.mlp.experts}: where several ranks share an expert's matrices, each has a part
   * of the hidden channels, and the ranks' outputs add up to the expert's.
   *
   * @throws IllegalArgumentException if a size is not one that grouped products take, or the
   *     experts cannot be shared out so
   */
  public GroupedMlp(Shape shape, ParameterScope parameters) {
    Group peers = parameters.groups().expertTensor();
    ExpertRange experts = ExpertRange.of(shape.experts(), parameters.groups().expert());
    long h = shape.hiddenSize();
    long f = shape.expertHiddenSize();
    this.activation = shape.activation();
    check(shape, peers.size());
    long inner = activation.inputs() * f;
    Shard rows = Shard.of(peers, 0, activation.inputs());
    Shard columns = Shard.of(peers, 1);
    Tensor fc1 =
        parameters.expertWeights("linear_fc1.weight", experts, shape.std(), rows, inner, h);
    Tensor bias1 =
        shape.bias()
            ? parameters.expertBiases("linear_fc1.bias", experts, Shard.WHOLE, inner)
            : null;
    Tensor fc2 =
        parameters.expertWeights("linear_fc2.weight", experts, shape.outputStd(), columns, h, f);
    Tensor bias2 =
        shape.bias() ? parameters.expertBiases("linear_fc2.bias", experts, Shard.WHOLE, h) : null;
    this.weights = new ExpertMlp.Weights(fc1, bias1, fc2, bias2);
    long multiple = ExpertMlp.takes(fc1) ? 1 : GroupedMatmul.multiple(fc1);
    long local = f / peers.size();
    if (h % multiple != 0 || local % multiple != 0) {
      String part = peers.isAlone() ? "" : ", %d on each rank,".formatted(local);
      throw new IllegalArgumentException(
          "--hidden-size %d and --moe-ffn-hidden-size %d%s: experts in %s need multiples of %d"
              .formatted(
                  h, f, part, parameters.dtype() == ScalarType.Float ? "fp32" : "bf16", multiple));
    }
  }

  private static void check(Shape shape, int peers) {
    if (shape.bias() && peers > 1) {
      throw new IllegalArgumentException(
          "--add-expert-bias needs --expert-tensor-parallel-size 1, not %d".formatted(peers));
    }
    if (shape.expertHiddenSize() % peers != 0) {
      throw new IllegalArgumentException(
          "--moe-ffn-hidden-size %d is no multiple of --expert-tensor-parallel-size %d"
              .formatted(shape.expertHiddenSize(), peers));
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
    if (rows.size(0) > 0) {
      return products(rows, dispatched.weight(), offsets);
    }
    // Grouped products want a row, be it no expert's: a rank may have none.
    Tensor row = torch.zeros(new long[] {1, rows.size(1)}, rows.options());
    Tensor none = torch.zeros(new long[] {1}, dispatched.weight().options());
    Tensor weight = torch.cat(new TensorVector(dispatched.weight(), none), 0);
    return products(torch.cat(new TensorVector(rows, row), 0), weight, offsets).narrow(0, 0, 0);
  }

  private Tensor products(Tensor rows, Tensor weight, Tensor offsets) {
    long count = rows.size(0);
    Tensor inner = GroupedMatmul.linear(rows, weights.fc1(), offsets);
    if (weights.bias1() != null) {
      inner = inner.add(GroupRows.of(weights.bias1(), offsets, count));
    }
    Tensor weighted = activation.weighted(inner, weight);
    Tensor outer = GroupedMatmul.linear(weighted, weights.fc2(), offsets);
    if (weights.bias2() == null) {
      return outer;
    }
    Tensor factor = weight.to(Tensors.dtype(rows)).unsqueeze(1);
    return outer.add(GroupRows.of(weights.bias2(), offsets, count).mul(factor));
  }
}
