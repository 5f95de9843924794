package moe4j.kernels.product;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.List;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class GradientSumTest {
  private PointerScope scope;
  private Tensor parameter;
  private GradientSum sum;

  @BeforeMethod
  public void open() {
    scope = new PointerScope();
    parameter = torch.ones(2, 3).to(ScalarType.BFloat16).set_requires_grad(true);
    sum = new GradientSum(parameter);
  }

  @AfterMethod
  public void close() {
    sum.close();
    scope.close();
  }

  private static Tensor gradient(double value) {
    return Tensors.full(value, ScalarType.BFloat16, torch.ones(1).device(), 2, 3);
  }

  private void assertIs(double value) {
    float[] expected = new float[6];
    Arrays.fill(expected, (float) value);
    assertEquals(Tensors.floats(sum.values()), expected);
  }

  /** Whatever an empty sum's memory holds; bf16 has no 257. */
  @Test
  public void theFirstIsStoredAndOthersAreAdded() {
    assertTrue(sum.isEmpty());
    sum.values().fill_(new Scalar(Double.NaN));
    sum.add(gradient(256));
    assertFalse(sum.isEmpty());
    assertIs(256);
    sum.add(gradient(1));
    assertIs(257);
    assertSame(Tensors.dtype(sum.values()), ScalarType.Float);
    sum.open(false);
    sum.add(gradient(1));
    assertIs(258);
    sum.open(true);
    assertTrue(sum.isEmpty());
    sum.add(gradient(3));
    assertIs(3);
    sum.forget();
    assertTrue(sum.isEmpty());
    // Without memory there is nothing to add to.
    sum.open(false);
    sum.add(gradient(2));
    assertIs(2);
  }

  @Test
  public void manyAreAddedAtOnce() {
    Tensor second = torch.ones(2).to(ScalarType.BFloat16);
    Tensor third = torch.ones(1).to(ScalarType.BFloat16);
    try (GradientSum other = new GradientSum(second);
        GradientSum none = new GradientSum(third)) {
      sum.add(gradient(2));
      none.values().fill_(new Scalar(Double.NaN));
      List<GradientSum> all = List.of(sum, other, none);
      GradientSum.add(all, Arrays.asList(gradient(1), second, null));
      assertIs(3);
      assertEquals(Tensors.floats(other.values()), new float[] {1, 1});
      // No gradient is zeros, once.
      assertEquals(Tensors.floats(none.values()), new float[] {0});
      none.add(third);
      GradientSum.add(all, Arrays.asList(null, null, null));
      assertIs(3);
      assertEquals(Tensors.floats(none.values()), new float[] {1});
    }
  }

  @Test
  public void itIsFoundByItsParameterWhileItIsOpen() {
    assertNull(GradientSum.of(parameter));
    sum.open(true);
    assertSame(GradientSum.of(parameter), sum);
    assertNull(GradientSum.of(torch.ones(2, 3).set_requires_grad(true)), "another parameter");
    assertNull(GradientSum.of(parameter.select(0, 0)), "a part that begins where it does");
    assertNull(GradientSum.of(parameter.detach()), "the same without a gradient");
    sum.shut();
    assertNull(GradientSum.of(parameter));
    sum.open(false);
    sum.close();
    assertNull(GradientSum.of(parameter));
  }

  /** Parameters without elements have one address. */
  @Test
  public void aSumOfNothingIsNotFound() {
    Tensor empty = torch.ones(0).set_requires_grad(true);
    Tensor other = torch.ones(0).set_requires_grad(true);
    try (GradientSum nothing = new GradientSum(empty)) {
      nothing.open(true);
      assertNull(GradientSum.of(other));
      nothing.add(empty.detach());
      assertEquals(nothing.values().numel(), 0L);
    }
  }

  /** A kernel's part, by hand: what it is told, and what stays where it is. */
  @Test
  public void aKernelLeavesSquares() {
    sum.open(true);
    GradientSum.Target first = sum.target(4);
    assertTrue(first.first());
    assertEquals(first.squares().numel(), 4L);
    first.values().fill_(new Scalar(2));
    first.squares().fill_(new Scalar(6));
    assertEquals(Tensors.item(sum.squares().sum()), 24.0);
    sum.open(false);
    GradientSum.Target second = sum.target(4);
    assertFalse(second.first());
    assertEquals(address(second.values()), address(first.values()));
    assertEquals(address(second.squares()), address(first.squares()));
    // Libtorch's addition leaves none.
    sum.add(gradient(1));
    assertIs(3);
    assertNull(sum.squares());
    sum.target(4);
    assertEquals(sum.squares().numel(), 4L);
    sum.setZero();
    assertNull(sum.squares());
    assertIs(0);
  }

  /** A captured graph may write the parts that there are: they are not given up for others. */
  @Test
  public void aNumberOfPartsIsKept() {
    sum.open(true);
    long squares = address(sum.target(4).squares());
    IllegalStateException e = expectThrows(IllegalStateException.class, () -> sum.target(5));
    assertTrue(e.getMessage().contains("4 parts") && e.getMessage().contains("5"), e.getMessage());
    sum.forget();
    assertEquals(address(sum.target(4).squares()), squares);
  }

  private static long address(Tensor t) {
    return t.data_ptr().address();
  }

  @Test
  public void itsMemoryOutlivesTheScopeItWasMadeIn() {
    Scopes.run(() -> sum.add(gradient(5)));
    assertIs(5);
  }
}
