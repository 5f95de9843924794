package moe4j.kernels.experts;

import java.util.List;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.BenchInputs;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.product.GradientSum;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * An MoE layer's operations, in the order of a token's way through it, with two experts a token.
 */
public final class ExpertsBench implements KernelBench {
  private static final int K = 2;

  @Override
  public List<BenchCase> cases(Scale scale) {
    Sizes sizes =
        new Sizes(
            scale.of(16_384, 128), scale.of(768, 32), scale.of(3072, 64), (int) scale.of(64, 8));
    BenchCases cases = new BenchCases();
    routing(scale, sizes, cases);
    rows(scale, sizes, cases);
    experts(scale, sizes, cases);
    weights(scale, sizes, cases);
    whole(scale, sizes, cases);
    return cases.list();
  }

  /** An MoE layer of T tokens, as they are called everywhere. */
  private record Sizes(long tokens, long h, long f, int experts) {
    long rows() {
      return tokens * K;
    }
  }

  private static void routing(Scale scale, Sizes s, BenchCases cases) {
    long stream = scale.bytes(s.tokens * s.h);
    long logits = 4 * s.tokens * s.experts;
    long chosen = s.tokens * K * (4 + 8);
    cases.bothWays(
        "router's logits",
        "[%d, %d] to %d".formatted(s.tokens, s.h, s.experts),
        Cost.bytes(stream + logits),
        Cost.bytes(3 * stream + 2 * logits),
        in -> {
          Tensor x = in.leaf(s.tokens, s.h);
          Tensor weight = in.leaf(s.experts, s.h);
          return Operation.of(() -> RouterProjection.logits(x, weight), x, weight);
        });
    cases.bothWays(
        "top-%d".formatted(K),
        "[%d, %d]".formatted(s.tokens, s.experts),
        Cost.bytes(logits + chosen),
        Cost.bytes(2 * logits + 2 * chosen),
        in -> {
          Tensor x = in.leaf(ScalarType.Float, s.tokens, s.experts);
          return Operation.of(() -> TopK.of(x, K).values(), x);
        });
    TokenRouter.Form form = new TokenRouter.Form(RouterScore.LOGITS, K, 1, true, false);
    // Of each route expert, weight, token and slot.
    long routes = s.rows() * (4 + 4 + 8 + 8);
    cases.bothWays(
        "routes and losses of logits",
        "[%d, %d]".formatted(s.tokens, s.experts),
        Cost.bytes(logits + routes),
        Cost.bytes(3 * logits + 2 * routes),
        in -> {
          Tensor x = in.leaf(ScalarType.Float, s.tokens, s.experts);
          return Operation.of(
              () -> TokenRouter.of(x, form, TokenRouter.Beside.NOTHING).weight(), x);
        });
    // The choice in; order, token and slot out, 8 bytes each.
    cases.forward(
        "sort of the routes",
        "[%d, %d] to %d".formatted(s.tokens, K, s.experts),
        Cost.bytes(4 * 8 * s.rows()),
        in -> {
          Tensor expert = in.whole(s.experts, s.tokens, K);
          return Operation.of(() -> RouteSort.of(expert, s.experts).order());
        });
  }

  private static void rows(Scale scale, Sizes s, BenchCases cases) {
    long moved = scale.bytes((s.tokens + s.rows()) * s.h);
    String shape = "[%d, %d] by %d".formatted(s.tokens, s.h, K);
    cases.bothWays(
        "tokens to experts' rows",
        shape,
        Cost.bytes(moved),
        Cost.bytes(2 * moved),
        in -> {
          RouteSort routes = routes(in, s);
          Tensor x = in.leaf(s.tokens, s.h);
          return Operation.of(() -> RowGather.spread(x, routes.token(), routes.slot()), x);
        });
    cases.bothWays(
        "experts' rows to tokens",
        shape,
        Cost.bytes(moved),
        Cost.bytes(2 * moved),
        in -> {
          RouteSort routes = routes(in, s);
          Tensor x = in.leaf(s.rows(), s.h);
          return Operation.of(() -> RowGather.gather(x, routes.token(), routes.slot()), x);
        });
  }

  private static RouteSort routes(BenchInputs in, Sizes s) {
    return RouteSort.of(in.whole(s.experts, s.tokens, K), s.experts);
  }

  private static void experts(Scale scale, Sizes s, BenchCases cases) {
    double flops = 2.0 * s.rows() * s.h * s.f;
    long inner = scale.bytes(s.rows() * s.f);
    long outer = scale.bytes(s.rows() * s.h);
    // Of each of the three products both operands are read and the result is written.
    long each = inner + outer + scale.bytes(s.experts * s.h * s.f);
    cases.bothWays(
        "product by groups",
        "[%d, %d] to %d, %d groups".formatted(s.rows(), s.h, s.f, s.experts),
        new Cost(each, flops),
        new Cost(3 * each, 3 * flops),
        in -> {
          Tensor x = in.leaf(s.rows(), s.h);
          Tensor weight = in.leaf(s.experts, s.f, s.h);
          Tensor offsets = in.ends(s.experts, s.rows());
          return Operation.beside(
              () -> GroupedMatmul.linear(x, weight, offsets),
              () -> eachByItself(x, weight),
              x,
              weight);
        });
    cases.bothWays(
        "GELU, weighted by row",
        "[%d, %d]".formatted(s.rows(), s.f),
        Cost.bytes(2 * inner),
        Cost.bytes(5 * inner),
        in -> {
          Tensor x = in.leaf(s.rows(), s.f);
          Tensor weight = in.leaf(ScalarType.Float, s.rows());
          return Operation.of(() -> WeightedActivation.gelu(x, weight), x, weight);
        });
    cases.bothWays(
        "SwiGLU, weighted by row",
        "[%d, 2 x %d]".formatted(s.rows(), s.f),
        Cost.bytes(3 * inner),
        Cost.bytes(8 * inner),
        in -> {
          Tensor x = in.leaf(s.rows(), 2 * s.f);
          Tensor weight = in.leaf(ScalarType.Float, s.rows());
          return Operation.of(() -> WeightedActivation.swiglu(x, weight), x, weight);
        });
    // The gradient of what the bias is added to is handed on as it is.
    cases.bothWays(
        "groups' bias, weighted by row",
        "[%d, %d], %d groups".formatted(s.rows(), s.h, s.experts),
        Cost.bytes(2 * outer),
        Cost.bytes(3 * outer),
        in -> {
          Tensor y = in.leaf(s.rows(), s.h);
          Tensor bias = in.leaf(s.experts, s.h);
          Tensor weight = in.leaf(ScalarType.Float, s.rows());
          Tensor offsets = in.ends(s.experts, s.rows());
          return Operation.of(() -> GroupBias.add(y, bias, offsets, weight), y, bias, weight);
        });
  }

  /** A weight's gradient that is added to its sum, there and by a pass of its own. */
  private static void weights(Scale scale, Sizes s, BenchCases cases) {
    long weights = s.experts * s.h * s.f;
    // Both operands are read, and the fp32 sum is read and written.
    long moved = scale.bytes(s.rows() * (s.h + s.f)) + 8 * weights;
    cases.forward(
        "weights' gradient, added up",
        "%d rows, %d by %d, %d groups".formatted(s.rows(), s.f, s.h, s.experts),
        new Cost(moved, 2.0 * s.rows() * s.h * s.f),
        in -> {
          Tensor fc1 = in.normal(s.experts, s.f, s.h);
          ExpertMlp.Weights mlp =
              new ExpertMlp.Weights(fc1, null, in.normal(s.experts, s.h, s.f), null);
          Tensor weight = in.normal(ScalarType.Float, s.rows());
          GroupedProducts products =
              GroupedProducts.of(
                  new GroupedProducts.Groups(mlp, in.ends(s.experts, s.rows()), weight),
                  new GroupedProducts.Between(RoutedCase.Act.GELU, Dropout.NONE),
                  UnaryOperator.identity());
          Tensor gradient = in.normal(s.rows(), s.f);
          Tensor x = in.normal(s.rows(), s.h);
          GradientSum sum = new GradientSum(fc1);
          in.atEnd(sum::close);
          sum.setZero();
          return Operation.beside(
              () -> {
                products.addWeightGradient(gradient, x, sum);
                return sum.values();
              },
              () -> {
                sum.add(products.weightGradient(gradient, x, fc1));
                return sum.values();
              });
        });
  }

  /**
   * All of it between the router and the sums, beside libtorch's products and what lies between.
   */
  private static void whole(Scale scale, Sizes s, BenchCases cases) {
    double flops = 4.0 * s.rows() * s.h * s.f;
    // The weights are read once; a backward reads them again and writes their gradients. Of the
    // rows the inner ones are kept: written forwards, read and made anew backwards.
    long weights = scale.bytes(2L * s.experts * s.h * s.f);
    long inner = scale.bytes(s.rows() * s.f);
    cases.bothWays(
        "experts with GELU",
        "[%d, %d] by %d to %d, %d groups".formatted(s.tokens, s.h, K, s.f, s.experts),
        new Cost(weights + 3 * inner, flops),
        new Cost(3 * weights + 8 * inner, 3 * flops),
        in -> {
          RouteSort sorted = routes(in, s);
          Tensor x = in.leaf(s.tokens, s.h);
          Tensor weight = in.leaf(ScalarType.Float, s.rows());
          Tensor fc1 = in.leaf(s.experts, s.f, s.h);
          Tensor fc2 = in.leaf(s.experts, s.h, s.f);
          ExpertMlp.Weights mlp = new ExpertMlp.Weights(fc1, null, fc2, null);
          RoutedMlp.Routes routes =
              new RoutedMlp.Routes(sorted.token(), sorted.slot(), sorted.offsets(), weight);
          Supplier<Tensor> apart = () -> apart(x, routes, fc1, fc2);
          return Operation.beside(
              RoutedMlp.take(x, mlp)
                  ? () -> RoutedMlp.sums(x, routes, mlp, RoutedCase.Act.GELU, Dropout.NONE)
                  : apart,
              apart,
              x,
              weight,
              fc1,
              fc2);
        });
  }

  private static Tensor apart(Tensor x, RoutedMlp.Routes routes, Tensor fc1, Tensor fc2) {
    Tensor rows = RowGather.spread(x, routes.token(), routes.slot());
    Tensor inner = GroupedMatmul.linear(rows, fc1, routes.offsets());
    Tensor activated = WeightedActivation.gelu(inner, routes.weight());
    Tensor outer = GroupedMatmul.linear(activated, fc2, routes.offsets());
    return RowGather.gather(outer, routes.token(), routes.slot());
  }

  /** The groups of {@link BenchInputs#ends}, a product each. */
  private static Tensor eachByItself(Tensor x, Tensor weight) {
    long groups = weight.size(0);
    TensorVector all = new TensorVector();
    for (long g = 0; g < groups; g++) {
      long from = x.size(0) * g / groups;
      long to = x.size(0) * (g + 1) / groups;
      all.push_back(Tensors.slice(x, 0, from, to).mm(weight.select(0, g).t()));
    }
    return torch.cat(all, 0);
  }
}
