package moe4j.kernels.experts;

import java.util.Arrays;
import java.util.Random;
import java.util.function.Supplier;
import java.util.stream.LongStream;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Type;
import moe4j.kernels.experts.RoutedCase.Act;
import moe4j.kernels.experts.RoutedCase.Shape;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Each of the grouped products by itself, group by group: groups of every kind of size, rows of no
 * token, garbage behind the last group, and results in memory that held no numbers.
 */
public final class GroupedProductsCheck implements KernelCheck {
  private static final int[] ODD = {0, 1, 63, 64, 65, 0, 127, 128, 129, 300, 0, 2};

  @Override
  public String name() {
    return "grouped products";
  }

  @Override
  public void run(Comparison on) {
    Random random = new Random(on.seed());
    for (Act act : Act.values()) {
      for (boolean extras : new boolean[] {false, true}) {
        Shape shape = new Shape(64, 128, act, extras, extras ? 0.2 : 0);
        run(on, random, shape, 70, 3, 0, 65, 0);
        run(on, random, new Shape(72, 200, act, extras, extras ? 0.2 : 0), 0, 40, 1);
      }
      run(on, random, new Shape(128, 64, act, true, 0), 5, RoutedCase.sizes(random, 96, 9));
    }
    run(on, random, new Shape(64, 64, Act.GELU, false, 0), 9, RoutedCase.sizes(random, 512, 4));
    run(on, random, new Shape(256, 192, Act.GELU, false, 0), 33, ODD);
    run(on, random, new Shape(64, 64, Act.RELU, true, 0.2), 4, 0, 0, 0);
    if (on.device().is_cuda()) {
      for (Act act : Act.values()) {
        run(on, random, new Shape(512, 1024, act, false, 0), 100, ODD);
        run(on, random, new Shape(768, 1536, act, true, 0.2), 1, ODD);
      }
      run(on, random, new Shape(1024, 520, Act.GELU, false, 0), 0, 700, 31, 0, 400);
    }
  }

  private static void run(Comparison on, Random random, Shape shape, int behind, int... sizes) {
    ScalarType type = ScalarType.BFloat16;
    for (boolean gathered : new boolean[] {true, false}) {
      Scopes.run(
          () ->
              new Both(new RoutedCase(on, type, shape, behind, sizes), on, random, gathered).run());
    }
  }

  /** The products on the device and in fp64. */
  private static final class Both {
    private final RoutedCase given;
    private final Comparison on;
    private final boolean gathered;
    private final String what;
    private final long tokens;
    private final long[] token;
    private final Tensor weight;
    private final GroupedProducts actual;
    private final GroupedProducts exact;

    Both(RoutedCase given, Comparison on, Random random, boolean gathered) {
      this.given = given;
      this.on = on;
      this.gathered = gathered;
      this.tokens = gathered ? given.rows / 2 + 1 : given.rows;
      this.token = gathered ? given.tokens(random, (int) tokens) : null;
      this.weight = given.weight();
      this.what =
          "%s G=%d R=%d+%d%s"
              .formatted(
                  given.shape,
                  given.groups(),
                  given.last(),
                  given.rows - given.last(),
                  gathered ? " gathered" : "");
      Tensor[] weights = given.weights();
      Device cpu = weights[0].device();
      exact =
          new PlainProducts(
              new GroupedProducts.Groups(RoutedCase.weights(weights), given.offsets(cpu), weight),
              new GroupedProducts.Between(given.shape.act(), given.drop(cpu)));
      Tensor[] ours = new Tensor[weights.length];
      Arrays.setAll(ours, i -> given.onDevice(weights[i]));
      actual =
          GroupedProducts.of(
              ours[0],
              new GroupedProducts.Groups(
                  RoutedCase.weights(ours),
                  given.offsets(on.device()),
                  weight.to(on.device(), ScalarType.Float)),
              new GroupedProducts.Between(given.shape.act(), given.drop(on.device())));
    }

    void run() {
      int h = given.shape.h();
      int f = given.shape.f();
      int inner = given.shape.act().inputs() * f;
      Tensor x = gathered ? given.normal(1, tokens, h) : given.normalRows(1, h);
      Tensor gradient = gathered ? given.normal(1, tokens, h) : given.normalRows(1, h);
      Tensor before = given.normalRows(1, inner);
      Tensor between = given.normalRows(1, f);
      up(x, inner, f);
      rows("down", h, () -> actual.down(given.onDevice(between)), exact.down(between));
      backward(gradient, before, inner);
      rows(
          "gradient of x",
          h,
          () -> actual.inputGradient(given.onDevice(before)),
          exact.inputGradient(before));
      weights("gradient of fc2", gradient, token(true), between, null);
      weights("gradient of fc1", before, null, x, token(true));
    }

    private Tensor token(boolean asked) {
      return gathered && asked ? Tensors.of(token, token.length) : null;
    }

    private Tensor onDevice(Tensor tokens) {
      return tokens == null ? null : tokens.to(on.device(), ScalarType.Long);
    }

    /** Memory that held no numbers is the next to be handed out. */
    private void poison(long... shape) {
      Scopes.run(() -> Tensors.full(Double.NaN, ScalarType.BFloat16, on.device(), shape));
    }

    private void rows(String product, long columns, Supplier<Tensor> ours, Tensor expected) {
      poison(given.rows, columns);
      on.closeInGroups(what + ": " + product, ours.get(), expected, given.ends, Type.BF16.bound());
    }

    private void up(Tensor x, int inner, int f) {
      poison(given.rows, inner);
      poison(given.rows, f);
      GroupedProducts.Up ours = actual.up(given.onDevice(x), onDevice(token(true)));
      GroupedProducts.Up expected = exact.up(x, token(true));
      on.closeInGroups(
          what + ": up", ours.inner(), expected.inner(), given.ends, Type.BF16.bound());
      on.closeInGroups(
          what + ": activated",
          ours.activated(),
          expected.activated(),
          given.ends,
          Type.BF16.bound());
    }

    private void backward(Tensor gradient, Tensor before, int inner) {
      boolean biases = given.shape.biases();
      GroupedProducts.Wanted wanted = new GroupedProducts.Wanted(true, biases, biases);
      poison(given.rows, inner);
      GroupedProducts.Down ours =
          actual.backward(
              given.onDevice(gradient), onDevice(token(true)), given.onDevice(before), wanted);
      GroupedProducts.Down expected = exact.backward(gradient, token(true), before, wanted);
      double bound = Type.BF16.bound();
      on.closeInGroups(
          what + ": gradient before the activation",
          ours.inner(),
          expected.inner(),
          given.ends,
          bound);
      // A row's number is a sum of both signs, which may be far less than its terms.
      on.close(what + ": gradient of weights", ours.weight(), expected.weight(), bound);
      Tensor behind = ours.weight().narrow(0, given.last(), given.rows - given.last());
      on.same(what + ": gradient of weights behind", behind, torch.zeros_like(behind));
      if (biases) {
        each("gradient of bias1", ours.bias1(), expected.bias1());
        each("gradient of bias2", ours.bias2(), expected.bias2());
      }
    }

    private void weights(
        String product, Tensor left, Tensor leftToken, Tensor right, Tensor rightToken) {
      poison(given.groups(), left.size(1), right.size(1));
      Tensor ours =
          actual.weightGradient(
              given.onDevice(left),
              onDevice(leftToken),
              given.onDevice(right),
              onDevice(rightToken));
      each(product, ours, exact.weightGradient(left, leftToken, right, rightToken));
    }

    /** A group has a row of its own. */
    private void each(String product, Tensor ours, Tensor expected) {
      long[] ends = LongStream.rangeClosed(1, given.groups()).toArray();
      on.closeInGroups(what + ": " + product, ours, expected, ends, Type.BF16.bound());
    }
  }
}
