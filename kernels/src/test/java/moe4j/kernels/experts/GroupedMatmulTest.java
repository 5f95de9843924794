package moe4j.kernels.experts;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import java.util.Random;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class GroupedMatmulTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(GroupedMatmulTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  public Object[][] groups() {
    return new Object[][] {
      {new int[] {5}},
      {new int[] {3, 1, 4}},
      {new int[] {0, 7, 0, 0, 2}},
      {new int[] {6, 0, 0}},
      {new int[] {0, 0, 1}},
      {new int[] {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
      {new int[] {64, 33, 0, 130}},
    };
  }

  @Test(dataProvider = "groups")
  public void eachGroupHasItsMatrix(int[] sizes) {
    check(sizes, 16, 24, ScalarType.Float, 1e-6);
    check(sizes, 4, 20, ScalarType.Float, 1e-6);
  }

  @Test(dataProvider = "groups")
  public void bf16(int[] sizes) {
    check(sizes, 16, 24, ScalarType.BFloat16, 4e-3);
    check(sizes, 40, 8, ScalarType.BFloat16, 4e-3);
  }

  @Test
  public void multiples() {
    assertEquals(GroupedMatmul.multiple(torch.zeros(1, 8, 8).to(ScalarType.BFloat16)), 8);
  }

  private void check(int[] sizes, int in, int out, ScalarType type, double relative) {
    int rows = 0;
    int[] ends = new int[sizes.length];
    for (int g = 0; g < sizes.length; g++) {
      rows += sizes[g];
      ends[g] = rows;
    }
    Tensor x = normals(rows, in).to(type).set_requires_grad(true);
    Tensor weight = normals(sizes.length, out, in).to(type).set_requires_grad(true);
    Tensor upstream = normals(rows, out).to(type);
    Tensor y = GroupedMatmul.linear(x, weight, Tensor.create(ends));
    assertSame(Tensors.dtype(y), type);
    y.mul(upstream).sum().backward();

    Tensor exactX = x.detach().to(ScalarType.Double).set_requires_grad(true);
    Tensor exactWeight = weight.detach().to(ScalarType.Double).set_requires_grad(true);
    Tensor exactY = torch.zeros(new long[] {rows, out}, exactX.options());
    for (int g = 0; g < sizes.length; g++) {
      Tensor part = Tensors.slice(exactX, 0, ends[g] - sizes[g], ends[g]);
      Tensor product = part.mm(exactWeight.select(0, g).t());
      Tensors.slice(exactY, 0, ends[g] - sizes[g], ends[g]).copy_(product);
    }
    exactY.mul(upstream.to(ScalarType.Double)).sum().backward();
    assertNear("product", y, exactY, relative);
    assertNear("x's gradient", x.grad(), exactX.grad(), relative);
    assertNear("weights' gradient", weight.grad(), exactWeight.grad(), relative);
    for (int g = 0; g < sizes.length; g++) {
      if (sizes[g] == 0) {
        assertEquals(Tensors.floats(weight.grad().select(0, g)), new float[in * out]);
      }
    }
  }

  private static void assertNear(String what, Tensor actual, Tensor expected, double relative) {
    assertEquals(actual.shape(), expected.shape());
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), relative, 1);
  }

  private Tensor normals(long... shape) {
    int size = 1;
    for (long n : shape) {
      size *= (int) n;
    }
    return Tensors.of(Seeds.normals(random, size), shape).mul(new Scalar(0.5));
  }
}
