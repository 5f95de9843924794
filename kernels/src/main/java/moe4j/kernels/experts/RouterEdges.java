package moe4j.kernels.experts;

import java.util.Arrays;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.Leaves;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Logits of which a router can make little: none at all, and infinite ones. */
final class RouterEdges {
  private RouterEdges() {}

  static void none(Comparison on, RouterScore score) {
    TokenRouter.Form form = new TokenRouter.Form(score, 2, 1, false, false);
    Tensor logits = Tensors.empty(ScalarType.Float, on.device(), 0, 8);
    TokenRouter made = TokenRouter.of(logits, form, TokenRouter.Beside.NOTHING);
    on.holds("router by %s of no token: losses".formatted(score), made.losses() == null);
    on.same(
        "router by %s of no token: counts".formatted(score),
        made.counts(),
        torch.zeros_like(made.counts()));
  }

  /** Experts that are ruled out have neither probability nor gradient, nor are they chosen. */
  static void infinite(Comparison on, RouterScore score) {
    float[] x = new float[40];
    Arrays.fill(x, Float.NEGATIVE_INFINITY);
    x[3] = 1;
    x[33] = 2;
    x[38] = 0.5f;
    TokenRouter.Form form = new TokenRouter.Form(score, 2, 1, true, true);
    Leaves leaves = Leaves.on(on, ScalarType.Float, Tensors.of(x, 1, 40));
    Tensor[] upstream = {Tensors.of(new float[] {1, -2}), Tensors.of(new float[] {1}).sum()};
    Tensor[] found =
        leaves.backward(
            upstream,
            t -> TokenRouterCheck.results(TokenRouter.of(t[0], form, TokenRouter.Beside.NOTHING)));
    String what = "router by %s beside -inf: ".formatted(score);
    long[] counts = Tensors.longs(found[6]);
    on.holds(what + "choices", counts[3] == 1 && counts[33] == 1);
    double entropy = Tensors.item(found[3]);
    on.holds(what + "entropy", entropy > 0 && entropy < Math.log(3));
    float[] gradient = Tensors.floats(leaves.gradient(0));
    boolean zero = true;
    for (int e = 0; e < gradient.length; e++) {
      zero &= Float.isInfinite(x[e]) ? gradient[e] == 0 : Float.isFinite(gradient[e]);
    }
    on.holds(what + "gradient", zero);
  }
}
