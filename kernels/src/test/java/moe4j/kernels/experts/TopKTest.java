package moe4j.kernels.experts;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** What it chooses is checked by the self-test, on a CPU too. */
public class TopKTest {
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** Beside other uses of the same numbers, and where nothing is recorded. */
  @Test
  public void gradientsAddUp() {
    Tensor x = Tensors.of(new float[] {1, 3, 3, 2}, 1, 4).set_requires_grad(true);
    TopK.of(x, 2).values().sum().add(x.sum()).backward();
    assertEquals(Tensors.floats(x.grad()), new float[] {1, 2, 2, 1});
    TopK top = TopK.of(x.detach(), 3);
    assertEquals(top.values().requires_grad(), false);
    assertEquals(Tensors.longs(top.indices()), new long[] {1, 2, 3});
    assertEquals(Tensors.floats(x), new float[] {1, 3, 3, 2});
  }

  @Test
  public void whatIsNoChoiceIsRefused() {
    Tensor x = Tensors.of(Seeds.normals(Seeds.random(TopKTest.class), 12), 3, 4);
    for (int k : new int[] {0, 5}) {
      IllegalArgumentException e =
          expectThrows(IllegalArgumentException.class, () -> TopK.of(x, k));
      assertTrue(e.getMessage().startsWith("The %d largest ".formatted(k)), e.getMessage());
      assertTrue(e.getMessage().endsWith(" of [3, 4] in Float."), e.getMessage());
    }
    expectThrows(IllegalArgumentException.class, () -> TopK.of(x.view(12), 2));
    expectThrows(IllegalArgumentException.class, () -> TopK.of(x.to(ScalarType.BFloat16), 2));
  }
}
