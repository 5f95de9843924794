package moe4j.kernels.attention;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Relative attention on the CPU against loops over its definition, whose gradients are written out,
 * too; {@code RelativeAttentionCheck} holds the kernels against it in larger sizes.
 */
public class RelativeAttentionTest {
  private static final int SAMPLES = 2;
  private static final int HEADS = 2;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(RelativeAttentionTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** Queries, memory, channels, the first key or -1 for none given, same length, dropout. */
  @DataProvider
  public Object[][] cases() {
    return new Object[][] {
      {5, 3, 4, -1, false, 0.0},
      {4, 6, 3, 2, false, 0.0},
      {5, 3, 2, 0, true, 0.0},
      {3, 4, 5, 3, true, 0.0},
      {1, 0, 3, -1, false, 0.0},
      {1, 5, 2, -1, true, 0.0},
      {6, 0, 2, -1, false, 0.0},
      {4, 0, 2, -1, true, 0.0},
      // The first queries, and then all, see nothing.
      {6, 0, 3, 3, false, 0.0},
      {4, 3, 3, 7, false, 0.0},
      {5, 4, 3, 2, false, 0.4},
      {4, 4, 2, -1, true, 0.5}
    };
  }

  @Test(dataProvider = "cases")
  public void isItsDefinition(
      int queries, int memory, int channels, int first, boolean sameLength, double p) {
    Sizes sizes = new Sizes(queries, memory, channels, first, sameLength);
    Dropout drop = drop(p);
    Tensor[] leaves = sizes.leaves(random);
    Tensor out = attend(leaves, sizes, drop);
    Tensor upstream = doubles(random, SAMPLES, queries, HEADS, channels);
    out.mul(upstream).sum().backward();

    Naive naive = new Naive(sizes, leaves, values(upstream), keep(drop, sizes));
    assertClose("output", values(out), naive.out);
    for (int i = 0; i < leaves.length; i++) {
      assertClose("gradient " + i, values(leaves[i].grad()), naive.gradients[i]);
    }
  }

  @Test
  public void bf16IsComputedInFp32() {
    Sizes sizes = new Sizes(5, 4, 8, 1, false);
    Tensor[] rounded = new Tensor[5];
    Tensor[] wide = new Tensor[5];
    Tensor[] leaves = sizes.leaves(random);
    for (int i = 0; i < leaves.length; i++) {
      rounded[i] = leaves[i].detach().to(ScalarType.BFloat16).set_requires_grad(true);
      wide[i] = rounded[i].detach().to(ScalarType.Float).set_requires_grad(true);
    }
    Tensor narrow = attend(rounded, sizes, Dropout.NONE);
    Tensor exact = attend(wide, sizes, Dropout.NONE);
    assertEquals(Tensors.dtype(narrow), ScalarType.BFloat16);
    assertSame(narrow, exact);
    narrow.sum().backward();
    exact.sum().backward();
    for (int i = 0; i < rounded.length; i++) {
      assertSame(rounded[i].grad(), wide[i].grad());
    }
  }

  @Test
  public void whatDoesNotGoTogetherIsRefused() {
    Sizes sizes = new Sizes(3, 2, 4, -1, false);
    Tensor[] leaves = sizes.leaves(random);
    assertTrue(attend(leaves, sizes, Dropout.NONE).numel() > 0);
    for (int i = 0; i < leaves.length; i++) {
      Tensor[] wrong = leaves.clone();
      wrong[i] = leaves[i].narrow(leaves[i].dim() - 1, 0, 3);
      assertThrows(IllegalArgumentException.class, () -> attend(wrong, sizes, Dropout.NONE));
      wrong[i] = leaves[i].to(ScalarType.Float);
      assertThrows(IllegalArgumentException.class, () -> attend(wrong, sizes, Dropout.NONE));
    }
    Tensor first = Tensors.of(new long[] {1});
    assertThrows(
        IllegalArgumentException.class,
        () ->
            RelativeAttention.apply(
                leaves[0], leaves[1], leaves[2], leaves[3], leaves[4], first, false, Dropout.NONE));
  }

  private Dropout drop(double p) {
    StepRandom draws = new StepRandom(random.nextLong(), 3, 4, SAMPLES);
    return p == 0 ? Dropout.NONE : new Dropout(draws, p, 1, 2);
  }

  private static double[] keep(Dropout drop, Sizes s) {
    Tensor ones =
        torch.ones(new long[] {SAMPLES, HEADS, s.queries, s.keys()}).to(ScalarType.Double);
    return values(drop.apply(ones));
  }

  private static Tensor attend(Tensor[] t, Sizes s, Dropout drop) {
    Tensor first = s.first < 0 ? null : Tensors.of(new long[] {s.first}).to(ScalarType.Int);
    return RelativeAttention.apply(t[0], t[1], t[2], t[3], t[4], first, s.sameLength, drop);
  }

  private record Sizes(int queries, int memory, int channels, int first, boolean sameLength) {
    int keys() {
      return memory + queries;
    }

    boolean sees(int i, int j) {
      return j <= memory + i && j >= first && (!sameLength || j > i);
    }

    /** Queries, keys and values, positions, the contents' bias and the positions'. */
    Tensor[] leaves(Random random) {
      Tensor[] leaves = {
        doubles(random, SAMPLES, queries, HEADS, channels),
        doubles(random, SAMPLES, keys(), 2, HEADS, channels),
        doubles(random, keys(), HEADS, channels),
        doubles(random, HEADS, channels),
        doubles(random, HEADS, channels)
      };
      for (Tensor leaf : leaves) {
        leaf.set_requires_grad(true);
      }
      return leaves;
    }
  }

  /** The definition in loops. */
  private static final class Naive {
    final double[] out;
    final double[][] gradients = new double[5][];
    private final Sizes s;
    private final double[][] inputs = new double[5][];
    private final double[] upstream;
    private final double[] keep;

    Naive(Sizes s, Tensor[] leaves, double[] upstream, double[] keep) {
      this.s = s;
      this.upstream = upstream;
      this.keep = keep;
      for (int i = 0; i < leaves.length; i++) {
        inputs[i] = values(leaves[i]);
        gradients[i] = new double[inputs[i].length];
      }
      out = new double[upstream.length];
      for (int b = 0; b < SAMPLES; b++) {
        for (int h = 0; h < HEADS; h++) {
          for (int i = 0; i < s.queries; i++) {
            row(b, h, i);
          }
        }
      }
    }

    /** Where a vector of channels begins. */
    private int query(int b, int i, int h) {
      return ((b * s.queries + i) * HEADS + h) * s.channels;
    }

    private int key(int b, int j, int part, int h) {
      return (((b * s.keys() + j) * 2 + part) * HEADS + h) * s.channels;
    }

    private int position(int i, int j, int h) {
      return ((i + s.memory - j) * HEADS + h) * s.channels;
    }

    private void row(int b, int h, int i) {
      double scale = 1 / Math.sqrt(s.channels);
      double[] weights = new double[s.keys()];
      int bias = h * s.channels;
      int q = query(b, i, h);
      double total = 0;
      for (int j = 0; j < s.keys(); j++) {
        if (s.sees(i, j)) {
          double score = 0;
          for (int c = 0; c < s.channels; c++) {
            score +=
                (inputs[0][q + c] + inputs[3][bias + c]) * inputs[1][key(b, j, 0, h) + c]
                    + (inputs[0][q + c] + inputs[4][bias + c]) * inputs[2][position(i, j, h) + c];
          }
          weights[j] = Math.exp(score * scale);
          total += weights[j];
        }
      }
      double[] gradient = new double[s.keys()];
      double along = 0;
      for (int j = 0; j < s.keys(); j++) {
        if (s.sees(i, j)) {
          weights[j] /= total;
          double kept = keep[((b * HEADS + h) * s.queries + i) * s.keys() + j];
          int v = key(b, j, 1, h);
          for (int c = 0; c < s.channels; c++) {
            out[q + c] += weights[j] * kept * inputs[1][v + c];
            gradients[1][v + c] += weights[j] * kept * upstream[q + c];
            gradient[j] += kept * inputs[1][v + c] * upstream[q + c];
          }
          along += weights[j] * gradient[j];
        }
      }
      for (int j = 0; j < s.keys(); j++) {
        if (s.sees(i, j)) {
          double slope = weights[j] * (gradient[j] - along) * scale;
          int k = key(b, j, 0, h);
          int r = position(i, j, h);
          for (int c = 0; c < s.channels; c++) {
            gradients[0][q + c] += slope * (inputs[1][k + c] + inputs[2][r + c]);
            gradients[1][k + c] += slope * (inputs[0][q + c] + inputs[3][bias + c]);
            gradients[2][r + c] += slope * (inputs[0][q + c] + inputs[4][bias + c]);
            gradients[3][bias + c] += slope * inputs[1][k + c];
            gradients[4][bias + c] += slope * inputs[2][r + c];
          }
        }
      }
    }
  }

  private static Tensor doubles(Random random, long... shape) {
    int size = (int) Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    return Tensors.of(Seeds.normals(random, size), shape).to(ScalarType.Double);
  }

  private static double[] values(Tensor t) {
    Tensor host = t.detach().to(ScalarType.Double).contiguous();
    double[] values = new double[Math.toIntExact(host.numel())];
    new DoublePointer(host.data_ptr()).get(values);
    return values;
  }

  private static void assertClose(String what, double[] actual, double[] expected) {
    assertEquals(actual.length, expected.length, what);
    for (int i = 0; i < actual.length; i++) {
      assertEquals(actual[i], expected[i], 1e-10 * (1 + Math.abs(expected[i])), what + " at " + i);
    }
  }

  /** The second one rounded is the first. */
  private static void assertSame(Tensor rounded, Tensor exact) {
    Tensor differ = rounded.ne(exact.to(ScalarType.BFloat16)).sum();
    assertEquals(Tensors.item(differ.add(new Scalar(0))), 0.0);
  }
}
