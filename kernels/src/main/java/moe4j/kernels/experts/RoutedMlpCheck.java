package moe4j.kernels.experts;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Function;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.experts.RoutedCase.Act;
import moe4j.kernels.experts.RoutedCase.Shape;
import moe4j.kernels.product.GradientSum;
import moe4j.kernels.product.KnownSquares;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Routed MLPs as a whole, forward and backward, with routes of every kind. */
public final class RoutedMlpCheck implements KernelCheck {
  private static final String[] NAMES = {
    "x", "weight", "fc1", "fc2", "bias1", "bias2", "what is beside"
  };

  @Override
  public String name() {
    return "routed experts";
  }

  @Override
  public void run(Comparison on) {
    for (Act act : Act.values()) {
      for (boolean extras : new boolean[] {false, true}) {
        Shape shape = new Shape(64, 128, act, extras, extras ? 0.2 : 0);
        Scopes.run(() -> choices(on, shape, 90, 3, 2));
        Scopes.run(() -> byGroups(on, shape, 50, 3, 33));
      }
    }
    Scopes.run(() -> choices(on, new Shape(128, 72, Act.GELU, true, 0), 200, 2, 70));
    if (on.device().is_cuda()) {
      for (Act act : Act.values()) {
        Scopes.run(() -> choices(on, new Shape(768, 1536, act, true, 0.2), 2000, 2, 8));
        Scopes.run(() -> byGroups(on, new Shape(512, 512, act, false, 0), 1500, 16, 130));
      }
    }
  }

  /** Tokens have each chosen k groups, some of which were dropped; the last group has no row. */
  private static void choices(Comparison on, Shape shape, int tokens, int k, int groups) {
    Random random = new Random(on.seed() + tokens);
    int[] chosen = random.ints((long) tokens * k, -1, groups).toArray();
    long[] slot = new long[chosen.length];
    long[] token = new long[chosen.length];
    Arrays.fill(slot, -1);
    Arrays.fill(token, -1);
    int[] sizes = new int[groups + 1];
    int row = 0;
    for (int g = 0; g < groups; g++) {
      for (int i = 0; i < chosen.length; i++) {
        if (chosen[i] == g) {
          token[row] = i / k;
          slot[i] = row++;
          sizes[g]++;
        }
      }
    }
    RoutedCase given = new RoutedCase(on, ScalarType.BFloat16, shape, chosen.length - row, sizes);
    compare(on, given, tokens, token, Tensors.of(slot, tokens, k));
  }

  /** Each group has chosen so many tokens, some more than once and some never. */
  private static void byGroups(Comparison on, Shape shape, int tokens, int groups, int capacity) {
    int[] sizes = new int[groups];
    Arrays.fill(sizes, capacity);
    RoutedCase given = new RoutedCase(on, ScalarType.BFloat16, shape, 0, sizes);
    compare(on, given, tokens, given.tokens(new Random(on.seed() + tokens), tokens), null);
  }

  private static void compare(
      Comparison on, RoutedCase given, int tokens, long[] token, Tensor slot) {
    List<Tensor> values = new ArrayList<>();
    values.add(given.normal(1, tokens, given.shape.h()));
    values.add(given.weight());
    // The step in ReLU's gradient makes much of rounding: where a bias takes most of a product
    // away, the product's rounding may be more than what is left, and so decide on which side it
    // is. Among a few thousand elements that happens to some.
    boolean relu = given.shape.act() == Act.RELU;
    double bias1 = relu ? 0.02 : 1;
    values.addAll(Arrays.asList(given.weights(bias1)));
    Tensor upstream = given.normal(1, tokens, given.shape.h());
    boolean isBeside = slot == null || slot.size(1) == 2;
    values.add(isBeside ? upstream.flip(0).contiguous() : null);
    Tensor[] all = values.toArray(new Tensor[0]);
    Leaves actual = Leaves.on(on, ScalarType.BFloat16, all);
    Leaves exact = Leaves.reference(all);
    Device device = on.device();
    // What it draws by lives as long as a step, not a layer.
    Dropout drop = given.drop(device);
    Tensor[][] leaves = new Tensor[1][];
    Tensor y =
        actual.backward(
            upstream,
            t -> {
              leaves[0] = t;
              return apply(given, token, slot, drop, t);
            });
    Dropout exactly = given.drop(upstream.device());
    Tensor expected = exact.backward(upstream, t -> apply(given, token, slot, exactly, t));
    String what =
        "routed experts %s T=%d R=%d G=%d%s"
            .formatted(
                given.shape, tokens, given.rows, given.groups(), slot == null ? " by experts" : "");
    on.close(what + ": tokens", y, expected, Type.BF16.bound());
    actual.compare(on, exact, what, (relu ? 4 : 1) * Type.BF16.bound(), NAMES);
    if (GroupedProducts.take(y, weights(leaves[0]))) {
      squares(on, what + ": squares of fc1", leaves[0][2]);
      squares(on, what + ": squares of fc2", leaves[0][3]);
    }
    sums(on, what, leaves[0], upstream, t -> apply(given, token, slot, drop, t));
  }

  /** Open sums get the gradients of two micro-batches, and the weights none. */
  private static void sums(
      Comparison on,
      String what,
      Tensor[] leaves,
      Tensor upstream,
      Function<Tensor[], Tensor> function) {
    Tensor[] own = new Tensor[leaves.length];
    Arrays.setAll(
        own, i -> leaves[i] == null ? null : leaves[i].detach().clone().set_requires_grad(true));
    try (GradientSum fc1 = new GradientSum(own[2]);
        GradientSum fc2 = new GradientSum(own[3])) {
      for (boolean first : new boolean[] {true, false}) {
        fc1.open(first);
        fc2.open(first);
        Tensor y = function.apply(own);
        fc1.begin();
        fc2.begin();
        Leaves.backward(y, upstream);
        fc1.shut();
        fc2.shut();
      }
      summed(on, what + ": sum of fc1", fc1, leaves[2]);
      summed(on, what + ": sum of fc2", fc2, leaves[3]);
    }
    on.holds(what + ": x has a gradient beside sums", own[0].grad().defined());
  }

  private static void summed(Comparison on, String what, GradientSum sum, Tensor weight) {
    on.holds(what + " is not the weight's gradient", !sum.parameter().grad().defined());
    Tensor once = weight.grad().to(ScalarType.Float);
    on.same(what, sum.values(), once.add(once));
  }

  /** A weight's gradient is the tensor that the product has written, and its squares are known. */
  private static void squares(Comparison on, String what, Tensor weight) {
    Tensor known = KnownSquares.of(weight, weight.grad());
    on.holds(what + " are known", known != null);
    if (known != null) {
      on.close(what, known.sum(), weight.grad().to(ScalarType.Double).square().sum(), 1e-5);
    }
    KnownSquares.forget(weight);
  }

  private static ExpertMlp.Weights weights(Tensor... leaves) {
    return RoutedCase.weights(leaves[2], leaves[3], leaves[4], leaves[5]);
  }

  private static Tensor apply(
      RoutedCase given, long[] token, Tensor slot, Dropout drop, Tensor[] leaves) {
    Device device = leaves[0].device();
    RoutedMlp.Routes routes =
        new RoutedMlp.Routes(
            Tensors.of(token, token.length).to(device, ScalarType.Long),
            slot == null ? null : slot.to(device, ScalarType.Long),
            given.offsets(device),
            leaves[1]);
    return RoutedMlp.sums(leaves[0], routes, weights(leaves), given.shape.act(), drop, leaves[6]);
  }
}
