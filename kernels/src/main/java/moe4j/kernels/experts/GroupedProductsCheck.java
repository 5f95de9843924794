package moe4j.kernels.experts;

import java.util.Arrays;
import java.util.Random;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import java.util.stream.LongStream;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Type;
import moe4j.kernels.experts.RoutedCase.Act;
import moe4j.kernels.experts.RoutedCase.Shape;
import moe4j.kernels.product.GradientSum;
import moe4j.kernels.product.KnownSquares;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Each of the grouped products by itself, group by group: groups of every kind of size, garbage
 * behind the last group, and results in memory that held no numbers.
 */
public final class GroupedProductsCheck implements KernelCheck {
  private static final int[] ODD = {0, 1, 63, 64, 65, 0, 127, 128, 129, 300, 0, 2};

  /** Sizes about the heights of tiles where experts have more rows in the mean. */
  private static final int[] MIDDLE = {150, 0, 33, 161, 129, 97, 320};

  private static final int[] MANY = {191, 192, 193, 160, 161, 96, 385, 0, 250};

  /** Sizes of which gradients of weights are sums over parts. */
  private static final int[] CUT = {3000, 5, 0, 513, 512, 5001, 700, 577};

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
        run(on, shape, 70, 3, 0, 65, 0);
        run(on, new Shape(72, 200, act, extras, extras ? 0.2 : 0), 0, 40, 1);
      }
      run(on, new Shape(128, 64, act, true, 0), 5, RoutedCase.sizes(random, 96, 9));
    }
    run(on, new Shape(64, 64, Act.GELU, false, 0), 9, RoutedCase.sizes(random, 512, 4));
    run(on, new Shape(256, 192, Act.GELU, false, 0), 33, ODD);
    run(on, new Shape(64, 64, Act.RELU, true, 0.2), 4, 0, 0, 0);
    if (on.device().is_cuda()) {
      for (Act act : Act.values()) {
        run(on, new Shape(512, 1024, act, false, 0), 100, ODD);
        run(on, new Shape(768, 1536, act, true, 0.2), 1, ODD);
        run(on, new Shape(192, 328, act, true, 0), 40, MIDDLE);
        run(on, new Shape(512, 200, act, false, 0.2), 3, MANY);
      }
      run(on, new Shape(1024, 520, Act.GELU, false, 0), 0, 700, 31, 0, 400);
      run(on, new Shape(64, 328, Act.GELU, false, 0), 30, CUT);
      run(on, new Shape(192, 264, Act.RELU, false, 0.2), 0, CUT);
    }
  }

  private static void run(Comparison on, Shape shape, int behind, int... sizes) {
    RoutedCase given = new RoutedCase(on, ScalarType.BFloat16, shape, behind, sizes);
    Scopes.run(() -> new Both(given, on).run());
  }

  /** The products on the device and in fp64. */
  private static final class Both {
    private static final double BOUND = Type.BF16.bound();

    private final RoutedCase given;
    private final Comparison on;
    private final String what;
    private final GroupedProducts actual;
    private final GroupedProducts exact;

    Both(RoutedCase given, Comparison on) {
      this.given = given;
      this.on = on;
      this.what =
          "%s G=%d R=%d+%d: "
              .formatted(given.shape, given.groups(), given.last(), given.rows - given.last());
      Tensor weight = given.weight();
      Tensor[] weights = given.weights(1);
      Device cpu = weight.device();
      exact =
          new PlainProducts(
              new GroupedProducts.Groups(RoutedCase.weights(weights), given.offsets(cpu), weight),
              new GroupedProducts.Between(given.shape.act(), given.drop(cpu)));
      Tensor[] ours = new Tensor[weights.length];
      Arrays.setAll(ours, i -> given.onDevice(weights[i]));
      actual =
          GroupedProducts.of(
              new GroupedProducts.Groups(
                  RoutedCase.weights(ours),
                  given.offsets(on.device()),
                  weight.to(on.device(), ScalarType.Float)),
              new GroupedProducts.Between(given.shape.act(), given.drop(on.device())),
              UnaryOperator.identity());
    }

    void run() {
      int h = given.shape.h();
      int f = given.shape.f();
      Tensor x = given.normalRows(1, h);
      Tensor gradient = given.normalRows(1, h);
      Tensor before = given.normalRows(1, (long) given.shape.act().inputs() * f);
      Tensor between = given.normalRows(1, f);
      up(x);
      Tensor activated = given.onDevice(between);
      Tensor y = poisoned(() -> actual.down(activated), given.rows, h);
      inGroups("down", y, exact.down(between));
      backward(gradient, before);
      Tensor inner = given.onDevice(before);
      Tensor dx = poisoned(() -> actual.inputGradient(inner), given.rows, h);
      inGroups("gradient of x", dx, exact.inputGradient(before));
      weights("gradient of fc2", gradient, between);
      weights("gradient of fc1", before, x);
    }

    /** What is computed when memory that held no numbers is the next to be handed out. */
    private <V> V poisoned(Supplier<V> work, long... shape) {
      Scopes.run(
          () -> {
            Tensors.full(Double.NaN, ScalarType.BFloat16, on.device(), shape);
            Tensors.full(Double.NaN, ScalarType.BFloat16, on.device(), shape);
          });
      return work.get();
    }

    private void inGroups(String product, Tensor ours, Tensor expected) {
      on.closeInGroups(what + product, ours, expected, given.ends, BOUND);
    }

    /** A group has a row of its own. */
    private void each(String product, Tensor ours, Tensor expected) {
      long[] ends = LongStream.rangeClosed(1, given.groups()).toArray();
      on.closeInGroups(what + product, ours, expected, ends, BOUND);
    }

    private void up(Tensor x) {
      Tensor own = given.onDevice(x);
      GroupedProducts.Up ours = poisoned(() -> actual.up(own), given.rows, given.shape.f());
      GroupedProducts.Up expected = exact.up(x);
      inGroups("up", ours.kept(), expected.kept());
      inGroups("activated", ours.activated(), expected.activated());
    }

    private void backward(Tensor gradient, Tensor before) {
      boolean biases = given.shape.biases();
      GroupedProducts.Wanted wanted = new GroupedProducts.Wanted(true, biases, biases);
      Tensor own = given.onDevice(gradient);
      Tensor kept = given.shape.act().form() == ExpertMlp.Form.RELU ? torch.relu(before) : before;
      Tensor ownKept = given.onDevice(kept);
      GroupedProducts.Down ours =
          poisoned(() -> actual.backward(own, ownKept, wanted), given.rows, before.size(1));
      GroupedProducts.Down expected = exact.backward(gradient, kept, wanted);
      inGroups("gradient before the activation", ours.inner(), expected.inner());
      // A row's number is a sum of both signs, which may be far less than its terms.
      on.close(what + "gradient of weights", ours.weight(), expected.weight(), BOUND);
      Tensor behind = ours.weight().narrow(0, given.last(), given.rows - given.last());
      on.same(what + "gradient of weights behind", behind, torch.zeros_like(behind));
      if (biases) {
        each("gradient of bias1", ours.bias1(), expected.bias1());
        each("gradient of bias2", ours.bias2(), expected.bias2());
      }
    }

    private void weights(String product, Tensor left, Tensor right) {
      Tensor a = given.onDevice(left);
      Tensor b = given.onDevice(right);
      Tensor ours =
          poisoned(
              () -> actual.weightGradient(a, b, a), given.groups(), left.size(1), right.size(1));
      each(product, ours, exact.weightGradient(left, right, left));
      Tensor again = actual.weightGradient(a, b, a);
      squares(product, KnownSquares.of(a, again), ours);
      KnownSquares.forget(a);
      on.same(what + product + ", again", again, ours);
      sums(product, a, b, ours);
    }

    private void squares(String product, Tensor squares, Tensor values) {
      if (squares != null) {
        Tensor exactSquares = values.to(ScalarType.Double).square().sum();
        on.close(what + product + ": squares", squares.sum(), exactSquares, 1e-5);
      }
    }

    /** A gradient that is stored in a sum, and one that is added: the bits of libtorch's sum. */
    private void sums(String product, Tensor a, Tensor b, Tensor gradient) {
      Tensor wide = gradient.to(ScalarType.Float);
      try (GradientSum sum = new GradientSum(gradient)) {
        sum.values().fill_(new Scalar(Double.NaN));
        actual.addWeightGradient(a, b, sum);
        same(product + ", stored", sum.values(), wide);
        squares(product + ", stored", sum.squares(), sum.values());
        // What groups without rows have is not zero.
        Tensor before = wide.div(new Scalar(3)).add(new Scalar(0.1));
        sum.values().copy_(before);
        actual.addWeightGradient(a, b, sum);
        same(product + ", added", sum.values(), before.add(gradient));
        squares(product + ", added", sum.squares(), sum.values());
      }
    }

    /** The same bits, where no group may have been cut: a sum is made of whole groups. */
    private void same(String product, Tensor ours, Tensor expected) {
      if (given.most() <= ProductCut.LEAST_ROWS) {
        on.same(what + product, ours, expected);
      } else {
        each(product, ours, expected.to(expected.device(), ScalarType.Double).cpu());
      }
    }
  }
}
