package moe4j.kernels.experts;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A router's logits, in fp32 of both types, and what a sum of gradients keeps where they cancel.
 */
public final class RouterProjectionCheck implements KernelCheck {
  private static final double FP32 = 1e-5;

  @Override
  public String name() {
    return "router projection";
  }

  @Override
  public void run(Comparison on) {
    for (Type type : Type.values()) {
      Scopes.run(() -> check(on, type, 1, 1, 1));
      Scopes.run(() -> check(on, type, 1, 96, 64));
      Scopes.run(() -> check(on, type, 33, 1, 40));
      Scopes.run(() -> check(on, type, 517, 96, 768));
      Scopes.run(() -> check(on, type, 70, 100, 72));
      Scopes.run(() -> check(on, type, 41, 7, 33));
      Scopes.run(() -> check(on, type, 65, 512, 128));
      Scopes.run(() -> none(on, type));
    }
    Scopes.run(() -> cancelling(on));
  }

  private static void check(Comparison on, Type type, int tokens, int experts, int h) {
    Tensor x = on.normal(type.dtype(), tokens, h);
    Tensor weight = on.normal(type.dtype(), experts, h);
    Tensor upstream = on.normal(ScalarType.Float, tokens, experts);
    Leaves actual = Leaves.on(on, type.dtype(), x, weight);
    Leaves expected = Leaves.reference(x, weight);
    String what = "router %s T=%d E=%d h=%d".formatted(type, tokens, experts, h);
    Tensor logits = actual.backward(upstream, t -> RouterProjection.logits(t[0], t[1]));
    on.close(what, logits, expected.backward(upstream, t -> t[0].mm(t[1].t())), FP32);
    on.holds(what + " is in fp32", Tensors.dtype(logits) == ScalarType.Float);
    actual.compare(on, expected, what, type.bound(), "x", "weight");
  }

  /** Gradients of 1 + 2^-12 and -1 for equal rows: of the former, one bf16 number would keep 1. */
  private static void cancelling(Comparison on) {
    ScalarType bf16 = ScalarType.BFloat16;
    Tensor x = on.normal(bf16, 1, 24).expand(2, 24).contiguous();
    Tensor weight = on.normal(bf16, 1, 24).expand(2, 24).contiguous();
    float little = 1f / 4096;
    float more = 1 + little;
    Tensor rest = Tensors.full(little, ScalarType.Double, x.device());
    Leaves tokens = Leaves.on(on, bf16, x, weight);
    tokens.backward(
        Tensors.of(new float[] {more, more, -1, -1}, 2, 2),
        t -> RouterProjection.logits(t[0], t[1]));
    on.close("router: tokens that cancel", tokens.gradient(1), x.mul(rest), FP32);
    Leaves experts = Leaves.on(on, bf16, x, weight);
    experts.backward(
        Tensors.of(new float[] {more, -1, more, -1}, 2, 2),
        t -> RouterProjection.logits(t[0], t[1]));
    on.close("router: experts that cancel", experts.gradient(0), weight.mul(rest), FP32);
  }

  private static void none(Comparison on, Type type) {
    Leaves leaves = Leaves.on(on, type.dtype(), torch.empty(0, 16), on.normal(type.dtype(), 8, 16));
    Tensor logits = leaves.backward(torch.empty(0, 8), t -> RouterProjection.logits(t[0], t[1]));
    on.holds(
        "router %s of no token: shapes".formatted(type),
        logits.numel() == 0 && logits.size(1) == 8 && leaves.gradient(0).size(1) == 16);
    Tensor zeros = Tensors.zeros(type.dtype(), logits.device(), 8, 16);
    on.same("router %s of no token: weight".formatted(type), leaves.gradient(1), zeros);
  }
}
