package moe4j.moe.experts;

import moe4j.kernels.activation.ReluDropout;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.experts.ExpertMlp;
import moe4j.kernels.experts.GroupBias;
import moe4j.kernels.experts.GroupedMatmul;
import moe4j.kernels.experts.RoutedMlp;
import moe4j.kernels.experts.TokenRouter;
import moe4j.kernels.product.GroupRows;
import moe4j.moe.dispatch.Dispatched;
import moe4j.moe.gate.Routing;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Group;
import moe4j.parallel.Shard;
import moe4j.tensor.Tensors;
import moe4j.transformer.Activation;
import moe4j.transformer.Operation;
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
   * @param dropout of the activations between the layers
   */
  public record Shape(
      int experts,
      long hiddenSize,
      long expertHiddenSize,
      Activation activation,
      boolean bias,
      double std,
      double outputStd,
      HiddenDropout dropout) {

    /** Experts without dropout. */
    public Shape(
        int experts,
        long hiddenSize,
        long expertHiddenSize,
        Activation activation,
        boolean bias,
        double std,
        double outputStd) {
      this(
          experts,
          hiddenSize,
          expertHiddenSize,
          activation,
          bias,
          std,
          outputStd,
          HiddenDropout.NONE);
    }

    /** The same experts with dropout. */
    public Shape withDropout(double p, int layer) {
      return new Shape(
          experts,
          hiddenSize,
          expertHiddenSize,
          activation,
          bias,
          std,
          outputStd,
          new HiddenDropout(p, layer));
    }
  }

  /**
   * Dropout between the layers, in training. An expert's rows are in the order of its tokens, and
   * draws are by a row's place among all rows of its rank: a run is repeated exactly by the same
   * layout, other layouts and micro-batches draw other numbers.
   *
   * @param p the chance that a value is left out
   * @param layer the layer's global number, from 0, by which it is drawn; layers that share experts
   *     draw alike
   */
  public record HiddenDropout(double p, int layer) {
    /** Nothing is left out. */
    static final HiddenDropout NONE = new HiddenDropout(0, 0);

    /** Refuses a dropout outside [0, 1). */
    public HiddenDropout {
      if (!(p >= 0 && p < 1)) {
        throw new IllegalArgumentException("experts' dropout of %s is not in [0, 1)".formatted(p));
      }
    }
  }

  /** Whose kernels multiply rows on a GPU. */
  public enum Products {
    /** moe4j's, where these take such rows and are faster ({@link RoutedMlp}), or libtorch's. */
    OURS,
    /** libtorch's ({@link GroupedMatmul}). */
    LIBTORCH
  }

  private final Activation activation;
  private final HiddenDropout dropout;
  private final Products products;

  /** This rank among those that have the layer's experts or parts of them. */
  private final int rank;

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
    this(shape, parameters, Products.OURS);
  }

  /**
   * The same with a choice of whose kernels multiply.
   *
   * @throws IllegalArgumentException if a size is not one that grouped products take, or the
   *     experts cannot be shared out so
   */
  public GroupedMlp(Shape shape, ParameterScope parameters, Products products) {
    Group peers = parameters.groups().expertTensor();
    ExpertRange experts = ExpertRange.of(shape.experts(), parameters.groups().expert());
    long h = shape.hiddenSize();
    long f = shape.expertHiddenSize();
    this.activation = shape.activation();
    this.dropout = shape.dropout();
    this.products = products;
    this.rank = parameters.groups().expertBlock().rank();
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
          "a hidden size of %d and --moe-ffn-hidden-size %d%s: experts in %s need multiples of %d"
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
  public Tensor sum(Dispatched dispatched, Pass pass) {
    dispatched.checkExperts(weights.fc1().size(0));
    return isRouted(dispatched)
        ? routed(dispatched, null, pass)
        : Experts.super.sum(dispatched, pass);
  }

  @Override
  public Tensor sumBeside(Dispatched dispatched, Tensor beside, Pass pass) {
    Tensor x = dispatched.inputs().get(0);
    boolean fits = beside.size(0) == x.size(0) && Tensors.dtype(beside) == Tensors.dtype(x);
    if (!isRouted(dispatched) || !fits) {
      return Experts.super.sumBeside(dispatched, beside, pass);
    }
    dispatched.checkExperts(weights.fc1().size(0));
    return routed(dispatched, beside, pass);
  }

  /**
   * {@link #sum} as products of ours compute it, from tokens to tokens.
   *
   * @param beside what is added, [T, h], or null
   */
  Tensor routed(Dispatched dispatched, Tensor beside, Pass pass) {
    Tensor x = dispatched.inputs().get(0);
    TokenRouter.Source source = dispatched.routing().source();
    if (source != null) {
      x = source.of(x);
    }
    Dropout drop = dropout(dispatched, pass);
    return RoutedMlp.sums(x, routes(dispatched), weights, activation, drop, beside);
  }

  /** Whether products of ours compute this, which gather rows by themselves. */
  private boolean isRouted(Dispatched dispatched) {
    return products == Products.OURS
        && RoutedMlp.take(dispatched.inputs().get(0), weights)
        && RoutedMlp.isFaster(dispatched.routing().weight().numel(), weights);
  }

  private static RoutedMlp.Routes routes(Dispatched dispatched) {
    Routing routing = dispatched.routing();
    return new RoutedMlp.Routes(
        routing.token(), routing.slot(), routing.offsets(), routing.weight());
  }

  @Override
  public Tensor forward(Dispatched dispatched, Pass pass) {
    dispatched.checkExperts(weights.fc1().size(0));
    Tensor x = dispatched.inputs().get(0);
    if (isRouted(dispatched)) {
      return RoutedMlp.rows(x, routes(dispatched), weights, activation, dropout(dispatched, pass));
    }
    Tensor rows = dispatched.rows();
    Tensor offsets = dispatched.offsets();
    Dropout drop = dropout(dispatched, pass);
    if (ExpertMlp.takes(weights.fc1())) {
      Tensor weight = dispatched.weight().to(Tensors.dtype(rows));
      return ExpertMlp.apply(rows, weight, weights, offsets, activation, factors(rows, drop));
    }
    if (rows.size(0) > 0) {
      return products(rows, dispatched.weight(), offsets, drop);
    }
    // A rank may have no rows, but grouped products need one: here it is a row of zeros that
    // belongs to no expert.
    Tensor row = torch.zeros(new long[] {1, rows.size(1)}, rows.options());
    Tensor none = torch.zeros(new long[] {1}, dispatched.weight().options());
    Tensor weight = torch.cat(new TensorVector(dispatched.weight(), none), 0);
    Tensor one = torch.cat(new TensorVector(rows, row), 0);
    return products(one, weight, offsets, drop).narrow(0, 0, 0);
  }

  /**
   * Each part of each rank's rows draws its own numbers, since a rank does not know how many rows
   * the others have.
   */
  private Dropout dropout(Dispatched dispatched, Pass pass) {
    int piece = rank * dispatched.parts() + dispatched.part();
    return dropout.p() == 0
        ? Dropout.NONE
        : pass.chance()
            .piece(piece)
            .dropout(dropout.p(), dropout.layer() + 1, Operation.FEED_FORWARD_HIDDEN);
  }

  /** The dropout's factors of the activations, [R, f], or null without dropout. */
  private Tensor factors(Tensor rows, Dropout drop) {
    if (drop.isNone()) {
      return null;
    }
    long[] shape = {rows.size(0), weights.fc2().size(2)};
    return drop.factors(Tensors.empty(Tensors.dtype(rows), rows.device(), shape));
  }

  /** {@link #forward} as a GPU computes it, for one row or more. */
  Tensor products(Tensor rows, Tensor weight, Tensor offsets, Dropout drop) {
    Tensor inner = GroupedMatmul.linear(rows, weights.fc1(), offsets);
    Tensor outer =
        GroupedMatmul.linear(between(inner, weight, offsets, drop), weights.fc2(), offsets);
    return weights.bias2() == null ? outer : GroupBias.add(outer, weights.bias2(), offsets, weight);
  }

  /** Bias, activation, dropout and weight. */
  private Tensor between(Tensor inner, Tensor weight, Tensor offsets, Dropout drop) {
    Tensor bias = weights.bias1();
    if (activation == Activation.RELU) {
      return ReluDropout.apply(inner, bias, bias == null ? null : offsets, weight, drop);
    }
    Tensor sum = bias == null ? inner : inner.add(GroupRows.of(bias, offsets, inner.size(0)));
    return drop.apply(activation.weighted(sum, weight));
  }
}
