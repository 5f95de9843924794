package moe4j.kernels.experts;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
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

public class RowGatherTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(RowGatherTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {
      {1, 1, 1, ScalarType.Float, 1e-6},
      {1, 4, 7, ScalarType.Float, 1e-6},
      {9, 1, 5, ScalarType.Float, 1e-6},
      {13, 2, 16, ScalarType.Float, 1e-6},
      {100, 8, 33, ScalarType.Float, 1e-6},
      {257, 2, 64, ScalarType.Float, 1e-6},
      {50, 2, 16, ScalarType.BFloat16, 5e-3},
      {31, 8, 24, ScalarType.BFloat16, 5e-3},
    };
  }

  /** Routes of T tokens, k each, in an arbitrary order. */
  private record Routes(Tensor token, Tensor slot) {
    static Routes of(int tokens, int k, Random random) {
      List<Integer> order = new ArrayList<>();
      for (int i = 0; i < tokens * k; i++) {
        order.add(i);
      }
      Collections.shuffle(order, random);
      long[] token = new long[tokens * k];
      long[] slot = new long[tokens * k];
      for (int r = 0; r < token.length; r++) {
        token[r] = order.get(r) / k;
        slot[order.get(r)] = r;
      }
      return new Routes(Tensors.of(token), Tensors.of(slot, tokens, k));
    }
  }

  @Test(dataProvider = "shapes")
  public void spread(int tokens, int k, int h, ScalarType type, double relative) {
    Routes routes = Routes.of(tokens, k, random);
    Tensor x = normals(tokens, h).to(type).set_requires_grad(true);
    Tensor upstream = normals((long) tokens * k, h).to(type);
    Tensor y = RowGather.spread(x, routes.token(), routes.slot());
    assertSame(Tensors.dtype(y), type);
    y.mul(upstream).sum().backward();

    Tensor exact = exact(x);
    Tensor exactY = exact.index_select(0, routes.token());
    exactY.mul(upstream.to(ScalarType.Double)).sum().backward();
    assertEquals(Tensors.floats(y), Tensors.floats(exactY), "rows are copied");
    assertNear("gradient", x.grad(), exact.grad(), relative);
    assertSame(Tensors.dtype(x.grad()), type);
  }

  @Test(dataProvider = "shapes")
  public void gather(int tokens, int k, int h, ScalarType type, double relative) {
    Routes routes = Routes.of(tokens, k, random);
    Tensor x = normals((long) tokens * k, h).to(type).set_requires_grad(true);
    Tensor upstream = normals(tokens, h).to(type);
    Tensor y = RowGather.gather(x, routes.token(), routes.slot());
    assertSame(Tensors.dtype(y), type);
    y.mul(upstream).sum().backward();

    Tensor exact = exact(x);
    Tensor exactY =
        torch.zeros(new long[] {tokens, h}, exact.options()).index_add(0, routes.token(), exact);
    exactY.mul(upstream.to(ScalarType.Double)).sum().backward();
    assertNear("sums", y, exactY, relative);
    assertNear("gradient", x.grad(), exact.grad(), relative);
    assertSame(Tensors.dtype(x.grad()), type);
  }

  /** What uses the same rows twice, and rows that need no gradient. */
  @Test
  public void besideOtherUses() {
    Routes routes = Routes.of(6, 2, random);
    Tensor x = normals(6, 4).set_requires_grad(true);
    Tensor there = RowGather.spread(x, routes.token(), routes.slot());
    Tensor back = RowGather.gather(there, routes.token(), routes.slot());
    assertNear("there and back", back, x.add(x), 1e-6);
    back.add(x).sum().backward();
    Tensor expected = Tensors.full(3, ScalarType.Float, x.device(), 6, 4);
    assertNear("gradient", x.grad(), expected, 1e-6);
    Tensor constant = normals(6, 4);
    Tensor rows = RowGather.spread(constant, routes.token(), routes.slot());
    assertEquals(rows.requires_grad(), false);
    assertEquals(Tensors.floats(rows), Tensors.floats(constant.index_select(0, routes.token())));
  }

  private static Tensor exact(Tensor x) {
    return x.detach().to(ScalarType.Double).set_requires_grad(true);
  }

  private static void assertNear(String what, Tensor actual, Tensor expected, double relative) {
    assertEquals(actual.shape(), expected.shape());
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), relative, 1e-3);
  }

  private Tensor normals(long rows, long columns) {
    return Tensors.of(Seeds.normals(random, (int) (rows * columns)), rows, columns);
  }
}
