package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class LeafHookTest {
  private PointerScope scope;
  private Tensor leaf;

  @BeforeMethod
  public void open() {
    scope = new PointerScope();
    leaf = Tensors.of(new float[] {1, 2, 3}).set_requires_grad(true);
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** The square and three times the leaf: the gradient is 2 x + 3. */
  private void backward() {
    Scopes.run(
        () -> leaf.mul(leaf).add(leaf.mul(Tensors.of(new float[] {3, 3, 3}))).sum().backward());
  }

  @Test
  public void aHookSeesAllOfABackwardsGradientAndChangesNothing() {
    List<float[]> seen = new ArrayList<>();
    Thread[] thread = new Thread[1];
    try (LeafHook hook =
        new LeafHook(
            leaf,
            gradient -> {
              thread[0] = Thread.currentThread();
              seen.add(Tensors.floats(gradient));
            })) {
      backward();
      System.gc();
      backward();
    }
    backward();
    assertSame(thread[0], Thread.currentThread());
    assertEquals(seen.size(), 2);
    for (float[] gradient : seen) {
      assertEquals(gradient, new float[] {5, 7, 9});
    }
    // The hook sees each backward's own, the leaf keeps the sum.
    assertEquals(Tensors.floats(leaf.grad()), new float[] {15, 21, 27});
  }

  @Test
  public void hooksKeepNothing() {
    try (LeafHook hook = new LeafHook(leaf, gradient -> gradient.add(gradient))) {
      backward();
      backward();
      CustomFunction.settle();
      long before = Scopes.livePointers();
      for (int i = 0; i < 20; i++) {
        backward();
      }
      CustomFunction.settle();
      assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
    }
  }

  @Test
  public void aLeafMayMove() {
    List<float[]> seen = new ArrayList<>();
    try (LeafHook hook = new LeafHook(leaf, gradient -> seen.add(Tensors.floats(gradient)))) {
      Tensor other = leaf;
      leaf.set_data(Tensors.of(new float[] {0, 0, 1}));
      backward();
      assertEquals(Tensors.floats(other), new float[] {0, 0, 1});
    }
    assertEquals(seen.get(0), new float[] {3, 3, 5});
  }

  @Test
  public void whatAHookThrowsEndsTheBackward() {
    try (LeafHook hook =
        new LeafHook(
            leaf,
            gradient -> {
              throw new IllegalStateException("not this one");
            })) {
      RuntimeException e = expectThrows(RuntimeException.class, this::backward);
      assertTrue(e.getMessage().contains("not this one"), e.getMessage());
    }
  }
}
