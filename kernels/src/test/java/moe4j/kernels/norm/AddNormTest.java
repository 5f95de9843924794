package moe4j.kernels.norm;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The addition and its norm on the CPU; {@code NormCheck} holds them against their definition. */
public class AddNormTest {
  private static final double EPSILON = 1e-5;
  private static final int SAMPLES = 3;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(AddNormTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** Rows of a part, channels, parts. */
  @DataProvider
  public Object[][] cuts() {
    return new Object[][] {{4, 16, 2}, {1, 5, 3}, {3, 7, 4}, {2, 12, 1}};
  }

  /** What a rank computes that has some of the tokens. */
  @Test(dataProvider = "cuts")
  public void aSliceIsDroppedAsInTheWhole(int rows, int h, int count) {
    StepRandom draws = new StepRandom(random.nextLong(), 8, 6, SAMPLES);
    long[] shape = {SAMPLES, (long) rows * count, h};
    Tensor residual = normals(shape);
    Tensor delta = normals(shape);
    Tensor bias = normals(h);
    Tensor weight = normals(h);
    Tensor normBias = normals(h);
    Tensor upstream = normals(shape);
    Pieces whole = pieces(draws, residual, delta, bias, weight, normBias, upstream);
    for (int i = 0; i < count; i++) {
      Pieces part =
          pieces(
              draws.slice(i, count),
              rows(residual, i, rows),
              rows(delta, i, rows),
              bias,
              weight,
              normBias,
              rows(upstream, i, rows));
      assertTrue(Arrays.equals(Tensors.floats(part.sum), Tensors.floats(rows(whole.sum, i, rows))));
      assertClose(part.normed, rows(whole.normed, i, rows));
      assertClose(part.gradient, rows(whole.gradient, i, rows));
    }
  }

  /** The sum, its norm, and delta's gradient. */
  private record Pieces(Tensor sum, Tensor normed, Tensor gradient) {}

  private static Pieces pieces(
      StepRandom draws,
      Tensor residual,
      Tensor delta,
      Tensor bias,
      Tensor weight,
      Tensor normBias,
      Tensor upstream) {
    Tensor leaf = delta.detach().clone().set_requires_grad(true);
    Dropout drop = new Dropout(draws, 0.4, 2, 3);
    AddNorm.Result result = AddNorm.apply(residual, leaf, bias, drop, weight, normBias, EPSILON);
    result.normed().mul(upstream).sum().backward();
    return new Pieces(result.sum(), result.normed(), leaf.grad());
  }

  private Tensor normals(long... shape) {
    int size = (int) Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    return Tensors.of(Seeds.normals(random, size), shape);
  }

  /** The tokens of a part that has so many of each sample: as many of all. */
  private static Tensor rows(Tensor t, long part, long rows) {
    long each = t.size(0) * rows;
    return t.flatten(0, 1).narrow(0, part * each, each).contiguous();
  }

  /** The same elements are zero, and the others equal but for the order of sums. */
  private static void assertClose(Tensor actual, Tensor expected) {
    float[] a = Tensors.floats(actual);
    float[] e = Tensors.floats(expected);
    assertEquals(a.length, e.length);
    for (int i = 0; i < a.length; i++) {
      assertEquals(a[i] == 0, e[i] == 0);
      assertEquals(a[i], e[i], 1e-5f * (1 + Math.abs(e[i])));
    }
  }
}
