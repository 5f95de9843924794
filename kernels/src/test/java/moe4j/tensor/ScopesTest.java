package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Live pointers are the process's: no other test may run beside these. */
public class ScopesTest {
  private long before;

  @BeforeClass
  public void loadTheLibrary() {
    // What the first use of a class keeps for good is not these tests' matter.
    Scopes.run(() -> Tensors.item(torch.ones(2).add(new Scalar(1)).sum()));
    System.gc();
  }

  private void count() {
    before = Scopes.livePointers();
  }

  /** No more than these: the collector may take what other tests left lying about. */
  private void assertAdded(long pointers) {
    long added = Scopes.livePointers() - before;
    assertTrue(added <= pointers, added + " native objects were left");
  }

  private static Tensor chain(double value) {
    return torch.ones(3).mul(new Scalar(value)).add(new Scalar(1)).neg();
  }

  @Test
  public void onlyTheResultEscapes() {
    count();
    try (PointerScope outer = new PointerScope()) {
      Tensor result = Scopes.compute(() -> chain(2));
      assertAdded(1);
      assertEquals(Tensors.floats(result), new float[] {-3, -3, -3});
    }
    assertAdded(0);
  }

  @Test
  public void nested() {
    count();
    try (PointerScope outer = new PointerScope()) {
      Tensor result =
          Scopes.compute(
              () -> {
                Tensor inner = Scopes.compute(() -> chain(4));
                Tensor twice = inner.add(inner);
                return Scopes.compute(() -> twice.add(torch.ones(3)).neg());
              });
      assertAdded(1);
      assertEquals(Tensors.floats(result), new float[] {9, 9, 9});
    }
    assertAdded(0);
  }

  @Test
  public void withoutAScopeTheCallerOwnsTheResult() {
    count();
    Tensor result = Scopes.compute(() -> chain(2));
    assertAdded(1);
    assertEquals(Tensors.floats(result), new float[] {-3, -3, -3});
    result.close();
    assertAdded(0);
  }

  @Test
  public void anInputMayBeTheResult() {
    try (PointerScope outer = new PointerScope()) {
      Tensor input = torch.ones(2);
      assertSame(Scopes.compute(() -> input), input);
      assertFalse(input.isNull());
      assertEquals(Tensors.floats(input), new float[] {1, 1});
    }
  }

  @Test
  public void whatIsKeptOutlivesEveryScope() {
    count();
    Tensor kept;
    try (PointerScope outer = new PointerScope()) {
      kept = Scopes.keep(() -> chain(2));
    }
    assertAdded(1);
    assertEquals(Tensors.floats(kept), new float[] {-3, -3, -3});
    kept.close();
    assertAdded(0);
  }

  @Test
  public void runLeavesNothing() {
    count();
    List<Tensor> made = new ArrayList<>();
    Scopes.run(() -> made.add(chain(1)));
    assertAdded(0);
    assertTrue(made.get(0).isNull());
  }

  @Test
  public void anExceptionLeavesNothing() {
    count();
    assertThrows(
        IllegalStateException.class,
        () ->
            Scopes.compute(
                () -> {
                  chain(1);
                  throw new IllegalStateException("on purpose");
                }));
    assertAdded(0);
  }

  @Test
  public void gradientsSurviveTheirScope() {
    count();
    try (PointerScope outer = new PointerScope()) {
      Tensor x = torch.ones(3).set_requires_grad(true);
      Tensor y = Scopes.compute(() -> x.mul(x).mul(x));
      Scopes.run(() -> y.sum().backward());
      assertEquals(Tensors.floats(x.grad()), new float[] {3, 3, 3});
    }
    assertAdded(0);
  }
}
