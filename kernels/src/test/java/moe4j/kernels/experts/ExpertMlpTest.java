package moe4j.kernels.experts;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import moe4j.kernels.NativeLibraries;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Experts' MLP against each group by itself in fp64, whose gradients are libtorch's. The file is a
 * long one because every test needs the same step, reference and comparison.
 */
public class ExpertMlpTest {
  private static final boolean[] ALL = {true, true, true, true, true, true};
  private static final String[] NAMES = {"x", "weight", "fc1", "fc2", "bias1", "bias2"};

  private Random random;
  private PointerScope scope;
  private int threads;

  @BeforeMethod
  public void open() {
    random = Seeds.random(ExpertMlpTest.class);
    scope = new PointerScope();
    threads = NativeLibraries.threads();
  }

  @AfterMethod
  public void close() {
    NativeLibraries.setThreads(threads);
    scope.close();
  }

  private static final ExpertMlp.Activation GELU =
      new ExpertMlp.Activation() {
        @Override
        public Tensor apply(Tensor x) {
          return torch.gelu(x);
        }

        @Override
        public Tensor gradient(Tensor gradient, Tensor x) {
          return torch.gelu_backward(gradient, x);
        }
      };

  /** Without the step that the gradient of a plain one has: rounding would make it another. */
  private static final ExpertMlp.Activation SQUARED_RELU =
      new ExpertMlp.Activation() {
        @Override
        public Tensor apply(Tensor x) {
          return x.relu().square();
        }

        @Override
        public Tensor gradient(Tensor gradient, Tensor x) {
          return gradient.mul(x.relu()).mul(new Scalar(2));
        }
      };

  /** Takes two channels for each it gives. */
  private static final ExpertMlp.Activation PRODUCT =
      new ExpertMlp.Activation() {
        @Override
        public Tensor apply(Tensor x) {
          TensorVector halves = x.chunk(2, -1);
          return halves.get(0).mul(halves.get(1));
        }

        @Override
        public Tensor gradient(Tensor gradient, Tensor x) {
          TensorVector halves = x.chunk(2, -1);
          return torch.cat(
              new TensorVector(gradient.mul(halves.get(1)), gradient.mul(halves.get(0))), -1);
        }
      };

  /** What comes in goes out, as the same object. */
  private static final ExpertMlp.Activation NONE =
      new ExpertMlp.Activation() {
        @Override
        public Tensor apply(Tensor x) {
          return x;
        }

        @Override
        public Tensor gradient(Tensor gradient, Tensor x) {
          return gradient;
        }
      };

  /** Sizes of groups, and rows behind the last. */
  private static final Object[][] GROUPS = {
    {new int[] {1}, 0},
    {new int[] {5}, 0},
    {new int[] {3, 1, 4}, 0},
    {new int[] {0, 7, 0, 0, 2}, 0},
    {new int[] {6, 0, 0}, 0},
    {new int[] {0, 0, 1}, 0},
    {new int[] {0, 201, 0}, 0},
    {new int[] {37, 130, 0, 61, 5}, 0},
    // The last ones' stretches would end behind the end, so they begin in the groups before.
    {new int[] {90, 2, 3, 1, 2}, 0},
    {new int[] {17, 18, 19, 33, 0, 21}, 0},
    {new int[] {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
    // Longer than the grain, and than what packs a weight.
    {new int[] {1057, 530, 33, 19, 1100, 11}, 0},
    {new int[] {40, 17}, 30},
    {new int[] {0, 3}, 2},
    {new int[] {61, 0, 0}, 1},
    {new int[] {0, 0}, 5},
  };

  @DataProvider
  public Object[][] groups() {
    Object[][] cases = new Object[GROUPS.length * 3][];
    for (int i = 0; i < cases.length; i++) {
      Object[] group = GROUPS[i / 3];
      cases[i] = new Object[] {group[0], group[1], 1 + i % 3};
    }
    return cases;
  }

  @Test(dataProvider = "groups")
  public void eachGroupHasItsMlp(int[] sizes, int behind, int threads) {
    NativeLibraries.setThreads(threads);
    new Case(sizes, behind, 24, 20, GELU, ScalarType.Float).check(ALL, 1e-5);
    new Case(sizes, behind, 7, 5, PRODUCT, ScalarType.Float).check(ALL, 1e-5);
    new Case(sizes, behind, 9, 16, SQUARED_RELU, ScalarType.Float).check(ALL, 1e-5);
    new Case(sizes, behind, 10, 12, GELU, ScalarType.Float).withBiases().check(ALL, 1e-5);
    new Case(sizes, behind, 7, 5, PRODUCT, ScalarType.Float).withBiases().check(ALL, 1e-5);
    assertEquals(NativeLibraries.threads(), threads);
  }

  @Test(dataProvider = "groups")
  public void bf16(int[] sizes, int behind, int threads) {
    NativeLibraries.setThreads(threads);
    // Of a few numbers the worst is not far from the norm.
    double relative = Arrays.stream(sizes).sum() < 50 ? 4e-2 : 1e-2;
    new Case(sizes, behind, 24, 20, GELU, ScalarType.BFloat16).check(ALL, relative);
    new Case(sizes, behind, 7, 5, PRODUCT, ScalarType.BFloat16).check(ALL, relative);
    new Case(sizes, behind, 9, 16, SQUARED_RELU, ScalarType.BFloat16).check(ALL, relative);
    new Case(sizes, behind, 8, 12, GELU, ScalarType.BFloat16).withBiases().check(ALL, relative);
  }

  @Test
  public void sizesOfAllKinds() {
    for (int trial = 0; trial < 20; trial++) {
      NativeLibraries.setThreads(1 + random.nextInt(3));
      int[] sizes = new int[1 + random.nextInt(9)];
      for (int g = 0; g < sizes.length; g++) {
        sizes[g] = random.nextInt(3) == 0 ? 0 : random.nextInt(1 << random.nextInt(9));
      }
      sizes[random.nextInt(sizes.length)]++;
      int behind = random.nextBoolean() ? 0 : random.nextInt(40);
      int h = 1 + random.nextInt(30);
      int f = 1 + random.nextInt(30);
      new Case(sizes, behind, h, f, GELU, ScalarType.Float).check(ALL, 1e-5);
    }
  }

  /** What is not asked for is not there, and what is asked for is no other for that. */
  @Test
  public void gradientsOfSomeInputs() {
    NativeLibraries.setThreads(2);
    for (int mask = 0; mask < 64; mask++) {
      boolean[] asked = new boolean[6];
      for (int i = 0; i < 6; i++) {
        asked[i] = (mask >> i & 1) == 1;
      }
      Case given = new Case(new int[] {33, 0, 9, 2}, 3, 8, 12, GELU, ScalarType.Float);
      given.withBiases().check(asked, 1e-5);
    }
  }

  @Test
  public void anActivationMayHandOnWhatItIsGiven() {
    for (int n = 1; n <= 2; n++) {
      NativeLibraries.setThreads(n);
      new Case(new int[] {33, 0, 9, 2}, 3, 8, 12, NONE, ScalarType.Float).check(ALL, 1e-5);
    }
  }

  /** One application. */
  private final class Case {
    final int[] sizes;
    final int[] ends;
    final int rows;
    final int last;
    final ExpertMlp.Activation activation;
    final ScalarType type;

    /** x, weight, fc1, fc2 and perhaps biases. */
    Tensor[] inputs;

    final Tensor upstream;

    Case(int[] sizes, int behind, int h, int f, ExpertMlp.Activation activation, ScalarType type) {
      this.sizes = sizes;
      this.activation = activation;
      this.type = type;
      ends = new int[sizes.length];
      int end = 0;
      for (int g = 0; g < sizes.length; g++) {
        end += sizes[g];
        ends[g] = end;
      }
      last = end;
      rows = last + behind;
      int channels = activation == PRODUCT ? 2 * f : f;
      inputs =
          new Tensor[] {
            normals(1, rows, h).to(type),
            normals(1, rows).to(type),
            normals(1 / Math.sqrt(h), sizes.length, channels, h).to(type),
            normals(1 / Math.sqrt(f), sizes.length, h, f).to(type)
          };
      upstream = normals(1, rows, h).to(type);
    }

    Case withBiases() {
      inputs = Arrays.copyOf(inputs, 6);
      inputs[4] = normals(1, sizes.length, inputs[2].size(1)).to(type);
      inputs[5] = normals(1, sizes.length, inputs[3].size(1)).to(type);
      return this;
    }

    Tensor offsets() {
      return Tensor.create(ends);
    }

    Tensor apply(Tensor[] leaves) {
      boolean biases = leaves.length > 4;
      ExpertMlp.Weights weights =
          new ExpertMlp.Weights(
              leaves[2], biases ? leaves[4] : null, leaves[3], biases ? leaves[5] : null);
      return ExpertMlp.apply(leaves[0], leaves[1], weights, offsets(), activation);
    }

    Tensor[] leaves(ScalarType dtype, boolean[] asked) {
      Tensor[] leaves = new Tensor[inputs.length];
      for (int i = 0; i < leaves.length; i++) {
        leaves[i] = inputs[i].to(dtype).clone().set_requires_grad(asked[i]);
      }
      return leaves;
    }

    /** Each group by itself, and 0 behind the last; not yet weighted. */
    Tensor outer(Tensor[] leaves) {
      Tensor[] parts = new Tensor[sizes.length + 1];
      for (int g = 0; g < sizes.length; g++) {
        Tensor x = Tensors.slice(leaves[0], 0, ends[g] - sizes[g], ends[g]);
        Tensor first = x.mm(leaves[2].select(0, g).t());
        if (leaves.length > 4) {
          first = first.add(leaves[4].select(0, g));
        }
        parts[g] = activation.apply(first).mm(leaves[3].select(0, g).t());
        if (leaves.length > 4) {
          parts[g] = parts[g].add(leaves[5].select(0, g));
        }
      }
      parts[sizes.length] = torch.zeros_like(Tensors.slice(leaves[0].detach(), 0, last, rows));
      return torch.cat(new TensorVector(parts), 0);
    }

    void check(boolean[] asked, double relative) {
      Tensor[] leaves = leaves(type, asked);
      Tensor y = apply(leaves);
      assertSame(Tensors.dtype(y), type);
      Tensor[] exact = leaves(ScalarType.Double, ALL);
      Tensor outer = outer(exact);
      Tensor exactY = outer.mul(exact[1].unsqueeze(1));
      assertNear("output", y, exactY, relative);
      boolean any = false;
      for (int i = 0; i < leaves.length; i++) {
        any |= asked[i];
      }
      assertEquals(y.requires_grad(), any);
      assertZero("output", y, 0, last, rows);
      if (!any) {
        return;
      }
      y.mul(upstream).sum().backward();
      exactY.mul(upstream.to(ScalarType.Double)).sum().backward();
      for (int i = 0; i < leaves.length; i++) {
        Tensor gradient = leaves[i].grad();
        assertEquals(gradient.defined(), asked[i], NAMES[i]);
        if (!asked[i]) {
          continue;
        }
        assertSame(Tensors.dtype(gradient), type);
        // The gradient of a row's weight is a sum that may be much less than its terms.
        double floor = i == 1 ? Tensors.item(outer.mul(upstream).norm()) : 1e-2;
        assertNear(NAMES[i] + "'s gradient", gradient, exact[i].grad(), relative, floor);
        for (int g = 0; i >= 2 && g < sizes.length; g++) {
          if (sizes[g] == 0) {
            assertZero(NAMES[i] + "'s gradient", gradient, 0, g, g + 1);
          }
        }
        if (i < 2) {
          assertZero(NAMES[i] + "'s gradient", gradient, 0, last, rows);
        }
      }
    }
  }

  private static void assertZero(String what, Tensor t, long dim, long from, long to) {
    float[] values = Tensors.floats(Tensors.slice(t, dim, from, to));
    for (float value : values) {
      assertEquals(value, 0f, what);
    }
  }

  private static void assertNear(String what, Tensor actual, Tensor expected, double relative) {
    assertNear(what, actual, expected, relative, 1e-2);
  }

  private static void assertNear(
      String what, Tensor actual, Tensor expected, double relative, double floor) {
    assertEquals(actual.shape(), expected.shape(), what);
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), relative, floor);
  }

  private Tensor normals(double deviation, long... shape) {
    int size = 1;
    for (long n : shape) {
      size *= (int) n;
    }
    return Tensors.of(Seeds.normals(random, size), shape).mul(new Scalar(deviation));
  }

  /** The reference that its documentation names, which computes where this does not. */
  @Test
  public void isTheSameInGroupedProducts() {
    for (ScalarType type : new ScalarType[] {ScalarType.Float, ScalarType.BFloat16}) {
      for (ExpertMlp.Activation activation : new ExpertMlp.Activation[] {GELU, SQUARED_RELU}) {
        Case given = new Case(new int[] {21, 0, 64, 3, 50}, 0, 24, 16, activation, type);
        Tensor[] ours = given.leaves(type, ALL);
        Tensor[] theirs = given.leaves(type, ALL);
        Tensor y = given.apply(ours);
        Tensor inner = GroupedMatmul.linear(theirs[0], theirs[2], given.offsets());
        Tensor weighted = activation.apply(inner).mul(theirs[1].unsqueeze(1));
        Tensor expected = GroupedMatmul.linear(weighted, theirs[3], given.offsets());
        double relative = type == ScalarType.Float ? 1e-5 : 1e-2;
        assertNear("output", y, expected, relative);
        y.mul(given.upstream).sum().backward();
        expected.mul(given.upstream).sum().backward();
        for (int i = 0; i < ours.length; i++) {
          assertNear(NAMES[i] + "'s gradient", ours[i].grad(), theirs[i].grad(), relative);
        }
      }
    }
  }

  @DataProvider
  public Object[][] threads() {
    return new Object[][] {{1}, {2}, {3}};
  }

  /** A micro-step's scope takes all with it, made on whichever thread, used or not. */
  @Test(dataProvider = "threads")
  public void stepsLeaveNothingBehind(int threads) {
    NativeLibraries.setThreads(threads);
    Case given = new Case(new int[] {40, 3, 0, 9, 5, 17}, 2, 8, 12, GELU, ScalarType.Float);
    Tensor[] leaves = given.leaves(ScalarType.Float, ALL);
    for (Tensor leaf : leaves) {
      leaf.retainReference();
    }
    given.upstream.retainReference();
    // A step's scope is the outermost: that is the one which keeps what a backward needs.
    scope.close();
    assertLeavesNothing(
        () -> {
          try (NoGradGuard guard = new NoGradGuard()) {
            assertFalse(given.apply(leaves).requires_grad());
          }
        });
    assertLeavesNothing(() -> given.apply(leaves));
    assertLeavesNothing(() -> given.apply(leaves).mul(given.upstream).sum().backward());
    // The layer container closes its own scope before the backward.
    assertLeavesNothing(
        () -> {
          Tensor y = Scopes.compute(() -> given.apply(leaves));
          Scopes.run(() -> y.mul(given.upstream).sum().backward());
        });
    for (Tensor leaf : leaves) {
      leaf.close();
    }
    given.upstream.close();
  }

  /** After the first few, which leave what lives as long as the process or a thread. */
  private static void assertLeavesNothing(Runnable step) {
    long before = 0;
    for (int i = 0; i < 12; i++) {
      if (i == 4) {
        before = Scopes.livePointers();
      }
      Scopes.run(step);
    }
    assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
  }

  /** A kernel is compiled for each length, and rows too many are computed in vain. */
  @Test
  public void lengthsAreFewAndNearTheSizes() {
    Set<Long> lengths = new TreeSet<>();
    for (long size = 1; size <= 100_000; size++) {
      long length = ExpertMlp.rounded(size);
      lengths.add(length);
      assertTrue(length >= size, length + " for " + size);
      assertTrue(length - size < Math.max(16, size / 32.0), length + " for " + size);
      assertEquals(ExpertMlp.rounded(length), length);
    }
    assertTrue(lengths.size() <= 300, lengths.size() + " lengths");
  }
}
