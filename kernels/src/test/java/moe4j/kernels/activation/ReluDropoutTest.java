package moe4j.kernels.activation;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Random;
import moe4j.kernels.dropout.Draw;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The reference element by element; {@code ReluDropoutCheck} holds gradients against fp64. */
public class ReluDropoutTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(ReluDropoutTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private Tensor normals(long... shape) {
    int size = 1;
    for (long n : shape) {
      size *= (int) n;
    }
    return Tensors.of(Seeds.normals(random, size), shape);
  }

  private static Tensor offsets(int... ends) {
    return Tensor.create(ends);
  }

  @DataProvider
  public Object[][] cases() {
    return new Object[][] {
      {7, new int[] {2, 2, 6}, true},
      {5, new int[] {5}, true},
      {4, new int[] {0, 0}, true},
      {0, new int[] {0, 0, 0}, true},
      {6, null, true},
      {6, null, false},
      {0, null, true},
    };
  }

  /** Each element and its gradient, by the draw of its place. */
  @Test(dataProvider = "cases")
  public void eachElementHasItsDraw(int rows, int[] ends, boolean weighted) {
    int f = 5;
    double p = 0.3;
    StepRandom draws = new StepRandom(random.nextLong(), 3, 2, 4).shared();
    Tensor x = normals(rows, f).set_requires_grad(true);
    Tensor bias = (ends == null ? normals(f) : normals(ends.length, f)).set_requires_grad(true);
    Tensor weight = weighted ? normals(rows).set_requires_grad(true) : null;
    Tensor upstream = normals(rows, f);
    Tensor offsets = ends == null ? null : offsets(ends);
    Tensor y = ReluDropout.apply(x, bias, offsets, weight, new Dropout(draws, p, 1, 8));
    y.mul(upstream).sum().backward();
    float[] u = Tensors.floats(Draw.uniform(draws, x, 1, 8));
    float[] xs = Tensors.floats(x);
    float[] bs = Tensors.floats(bias);
    float[] ws = weighted ? Tensors.floats(weight) : null;
    float[] gs = Tensors.floats(upstream);
    double[] dbias = new double[bs.length];
    float[] ys = Tensors.floats(y);
    float[] dx = Tensors.floats(x.grad());
    for (int r = 0; r < rows; r++) {
      int g = 0;
      while (ends != null && g < ends.length && ends[g] <= r) {
        g++;
      }
      boolean none = ends != null && g == ends.length;
      double dweight = 0;
      for (int c = 0; c < f; c++) {
        int i = r * f + c;
        double sum = none ? 0 : xs[i] + bs[g * f + c];
        double kept = u[i] >= (float) p && !none ? 1 / (1 - p) : 0;
        double w = weighted ? ws[r] : 1;
        assertEquals(ys[i], Math.max(sum, 0) * kept * w, 1e-5);
        double slope = sum > 0 ? kept * w * gs[i] : 0;
        assertEquals(dx[i], slope, 1e-5);
        dweight += gs[i] * Math.max(sum, 0) * kept;
        if (!none) {
          dbias[g * f + c] += slope;
        }
      }
      if (weighted) {
        assertEquals(Tensors.floats(weight.grad())[r], dweight, 1e-4);
      }
    }
    float[] actual = Tensors.floats(bias.grad());
    for (int i = 0; i < dbias.length; i++) {
      assertEquals(actual[i], dbias[i], 1e-4);
    }
  }

  /** The slope at 0 is 0, and what is not a number stays none. */
  @Test
  public void zeroAndNotANumber() {
    Tensor x = Tensors.of(new float[] {1, -2, 0, Float.NaN}, 1, 4).set_requires_grad(true);
    Tensor bias = Tensors.of(new float[] {-1, 2.5f, 0, 1});
    Tensor y = ReluDropout.apply(x, bias, null, null, Dropout.NONE);
    float[] values = Tensors.floats(y);
    assertEquals(values[0], 0f);
    assertEquals(values[1], 0.5f);
    assertEquals(values[2], 0f);
    assertTrue(Float.isNaN(values[3]));
    y.sum().backward();
    assertEquals(java.util.Arrays.copyOf(Tensors.floats(x.grad()), 3), new float[] {0, 1, 0});
  }

  @Test
  public void theResultIsOfItsInputsShapeAndType() {
    Tensor x = normals(2, 3, 8).to(ScalarType.BFloat16);
    Tensor y = ReluDropout.apply(x, normals(8).to(ScalarType.BFloat16), null, null, Dropout.NONE);
    assertEquals(y.shape(), x.shape());
    assertEquals(Tensors.dtype(y), ScalarType.BFloat16);
    Tensor rows = x.view(6, 8);
    Tensor weighted = ReluDropout.apply(rows, null, null, normals(6), Dropout.NONE);
    assertEquals(Tensors.dtype(weighted), ScalarType.BFloat16);
  }

  @Test
  public void whatDoesNotFitIsRefused() {
    Tensor x = normals(6, 4);
    refuses(x, normals(5), null, null);
    refuses(x, normals(2, 4), null, null);
    refuses(x, normals(4), offsets(3), null);
    refuses(x, null, offsets(3), null);
    refuses(x, normals(3, 4), offsets(3, 6), null);
    refuses(x, normals(4), null, normals(5));
    refuses(normals(2, 3, 4), normals(4), null, normals(6));
  }

  private static void refuses(Tensor x, Tensor bias, Tensor offsets, Tensor weight) {
    String message =
        expectThrows(
                IllegalArgumentException.class,
                () -> ReluDropout.apply(x, bias, offsets, weight, Dropout.NONE))
            .getMessage();
    assertTrue(message.startsWith("The sizes of ReLU's x [" + x.size(0)), message);
  }

  /** Draws of one seed's branches have nothing in common; branch 0 is the seed itself. */
  @Test
  public void branchesDrawApart() {
    StepRandom draws = new StepRandom(random.nextLong(), 1, 0, 1);
    assertEquals(draws.branch(0), draws);
    Tensor like = torch.empty(4000);
    Tensor[] uniform = new Tensor[5];
    for (int i = 0; i < uniform.length; i++) {
      uniform[i] = Draw.uniform(draws.branch(i), like, 1, 2);
      for (int j = 0; j < i; j++) {
        assertEquals(Tensors.item(uniform[i].eq(uniform[j]).sum()), 0, 5);
        double together =
            Tensors.item(
                uniform[i]
                    .lt(new org.bytedeco.pytorch.Scalar(0.5))
                    .eq(uniform[j].lt(new org.bytedeco.pytorch.Scalar(0.5)))
                    .to(ScalarType.Float)
                    .mean());
        assertEquals(together, 0.5, 0.06);
      }
    }
  }
}
