package moe4j.kernels.attention;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.Tensor;

/** Queries, keys and values: groups of one head and of several, aligned and not. */
public final class QkvProjectionCheck implements KernelCheck {
  @Override
  public String name() {
    return "qkv projection";
  }

  @Override
  public void run(Comparison on) {
    QkvProjection.Heads[] shapes = {
      new QkvProjection.Heads(12, 1, 64),
      new QkvProjection.Heads(2, 3, 24),
      new QkvProjection.Heads(3, 2, 5),
      new QkvProjection.Heads(1, 1, 1)
    };
    for (Type type : Type.values()) {
      for (QkvProjection.Heads heads : shapes) {
        Scopes.run(() -> check(on, type, heads, true));
      }
      Scopes.run(() -> check(on, type, shapes[1], false));
    }
  }

  private static void check(Comparison on, Type type, QkvProjection.Heads heads, boolean withBias) {
    long g = heads.groups();
    long n = g * heads.headsPerGroup();
    long d = heads.channels();
    Tensor x = on.normal(type.dtype(), 3, 37, 40);
    Tensor weight = on.normal(type.dtype(), (n + 2 * g) * d, 40);
    Tensor bias = withBias ? on.normal(type.dtype(), (n + 2 * g) * d) : null;
    Tensor[] upstream = {
      on.normal(type.dtype(), 3, 37, n, d),
      on.normal(type.dtype(), 3, 37, g, d),
      on.normal(type.dtype(), 3, 37, g, d)
    };
    Leaves actual = Leaves.on(on, type.dtype(), x, weight, bias);
    Leaves expected = Leaves.reference(x, weight, bias);
    Tensor[] ours = actual.backward(upstream, t -> project(t, heads));
    Tensor[] theirs = expected.backward(upstream, t -> project(t, heads));
    String what = "qkv %s %d groups of %d heads of %d".formatted(type, g, heads.headsPerGroup(), d);
    String[] names = {"queries", "keys", "values"};
    for (int i = 0; i < names.length; i++) {
      on.close(what + ": " + names[i], ours[i], theirs[i], type.bound());
    }
    actual.compare(on, expected, what, type.bound(), "x", "weight", "bias");
  }

  private static Tensor[] project(Tensor[] t, QkvProjection.Heads heads) {
    QkvProjection.Parts parts = QkvProjection.apply(t[0], t[1], t[2], heads);
    return new Tensor[] {parts.query(), parts.key(), parts.value()};
  }
}
