package moe4j.kernels.product;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;

import java.util.Random;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class GemmTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(GemmTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {
      {new long[] {1, 1}, 1},
      {new long[] {1, 5}, 3},
      {new long[] {7, 3}, 1},
      {new long[] {33, 17}, 50},
      {new long[] {2, 9, 16}, 24},
      {new long[] {2, 3, 4, 10}, 6},
      {new long[] {5, 64}, 8},
    };
  }

  @Test(dataProvider = "shapes")
  public void isTheProduct(long[] shape, long out) {
    for (ScalarType type : new ScalarType[] {ScalarType.Float, ScalarType.BFloat16}) {
      double relative = type == ScalarType.Float ? 1e-6 : 8e-3;
      check(normals(shape).to(type), out, true, relative);
      check(normals(shape).to(type), out, false, relative);
    }
  }

  /** From 1024 rows on a weight [out, in] is packed where out is at most in. */
  @DataProvider
  public Object[][] manyRows() {
    return new Object[][] {
      {new long[] {1023, 24}, 16},
      {new long[] {1024, 24}, 16},
      {new long[] {1024, 24}, 24},
      {new long[] {1023, 16}, 24},
      {new long[] {1024, 16}, 24},
      {new long[] {1500, 33}, 17},
      {new long[] {1500, 17}, 33},
      {new long[] {2, 521, 40}, 9},
    };
  }

  @Test(dataProvider = "manyRows")
  public void manyRowsToo(long[] shape, long out) {
    for (boolean biased : new boolean[] {true, false}) {
      check(normals(shape), out, biased, 3e-6);
      check(normals(shape).to(ScalarType.BFloat16), out, biased, 8e-3);
    }
  }

  /** Rows that do not lie one behind the other, as those of attention's output. */
  @Test
  public void strides() {
    check(normals(2, 6, 5).transpose(0, 1), 4, true, 1e-6);
    check(normals(8, 6).t(), 4, true, 1e-6);
    check(Tensors.slice(normals(4, 9), 1, 2, 7), 3, true, 1e-6);
  }

  private void check(Tensor given, long out, boolean biased, double relative) {
    ScalarType type = Tensors.dtype(given);
    long in = given.size(-1);
    // The leaf keeps the strides it is given.
    Tensor x = given.set_requires_grad(true);
    Tensor weight = normals(out, in).to(type).set_requires_grad(true);
    Tensor bias = biased ? normals(out).to(type).set_requires_grad(true) : null;
    Tensor y = Gemm.linear(x, weight, bias);
    assertSame(Tensors.dtype(y), type);
    long[] shape = x.shape();
    shape[shape.length - 1] = out;
    assertEquals(y.shape(), shape);
    Tensor upstream = normals(shape).to(type);
    y.mul(upstream).sum().backward();

    Tensor exactX = exact(x);
    Tensor exactWeight = exact(weight);
    Tensor exactBias = biased ? exact(bias) : null;
    Tensor product = exactX.matmul(exactWeight.t());
    Tensor exactY = biased ? product.add(exactBias) : product;
    exactY.mul(upstream.to(ScalarType.Double)).sum().backward();
    assertNear("product", y, exactY, relative);
    assertNear("input's gradient", x.grad(), exactX.grad(), relative);
    assertNear("weight's gradient", weight.grad(), exactWeight.grad(), relative);
    if (biased) {
      assertNear("bias' gradient", bias.grad(), exactBias.grad(), relative);
    }
  }

  /** What needs no gradient gets none, and what does is not disturbed by that. */
  @Test
  public void partsWithoutGradient() {
    Tensor x = normals(5, 4);
    Tensor weight = normals(3, 4).set_requires_grad(true);
    Gemm.linear(x, weight, null).sum().backward();
    assertFalse(x.grad().defined());
    double[] columns = new double[12];
    float[] values = Tensors.floats(x);
    for (int i = 0; i < columns.length; i++) {
      for (int row = 0; row < 5; row++) {
        columns[i] += values[4 * row + i % 4];
      }
    }
    assertClose("weight's gradient", Tensors.floats(weight.grad()), columns, 1e-6, 1);
    Tensor input = normals(5, 4).set_requires_grad(true);
    Gemm.linear(input, weight.detach(), null).sum().backward();
    Tensor rows = weight.detach().sum(0).unsqueeze(0).expand(5, 4);
    assertNear("input's gradient", input.grad(), rows, 1e-6);
    try (NoGradGuard guard = new NoGradGuard()) {
      assertFalse(Gemm.linear(input, weight, null).requires_grad());
    }
  }

  private static Tensor exact(Tensor t) {
    return t.detach().to(ScalarType.Double).contiguous().set_requires_grad(true);
  }

  private static void assertNear(String what, Tensor actual, Tensor expected, double relative) {
    assertEquals(actual.shape(), expected.shape(), what);
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), relative, 0.1);
  }

  private Tensor normals(long... shape) {
    int size = 1;
    for (long n : shape) {
      size *= (int) n;
    }
    return Tensors.of(Seeds.normals(random, size), shape);
  }
}
