package moe4j.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.product.GradientSum;
import moe4j.kernels.product.KnownSquares;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A used parameter and one that no loss depends on. */
public class GradientsTest {
  private PointerScope scope;
  private Tensor used;
  private Tensor unused;

  @BeforeMethod
  public void open() {
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private Gradients gradients(boolean bf16, boolean summed, boolean kept) {
    ScalarType type = bf16 ? ScalarType.BFloat16 : ScalarType.Float;
    used = Tensors.of(new float[] {1, 2, 3}).to(type).set_requires_grad(true);
    unused = Tensors.of(new float[] {4, 5}).to(type).set_requires_grad(true);
    return new Gradients(List.of(used, unused), summed, kept);
  }

  /** A backward that gives each element of the used one this gradient. */
  private void backward(double gradient) {
    Scopes.run(() -> used.mul(new Scalar(gradient)).sum().backward());
  }

  private void microBatch(Gradients gradients, double gradient) {
    gradients.beforeBackward(true);
    backward(gradient);
    gradients.accumulate();
  }

  private static float[] three(double value) {
    return new float[] {(float) value, (float) value, (float) value};
  }

  @DataProvider
  public Object[][] ways() {
    return new Object[][] {
      // bf16, summed, kept: a CPU's fp32 and bf16, a GPU's with one micro-batch and with more.
      {false, false, false},
      {true, true, false},
      {true, false, false},
      {false, false, true},
      {true, true, true},
    };
  }

  @Test(dataProvider = "ways")
  public void microBatchesAddUpAndStepsDoNot(boolean bf16, boolean summed, boolean kept) {
    try (Gradients gradients = gradients(bf16, summed, kept)) {
      assertEquals(gradients.zeroedByUpdate(), kept);
      for (double step = 1; step < 3; step++) {
        microBatch(gradients, step);
        microBatch(gradients, 0.5);
        List<Tensor> all = gradients.all();
        assertEquals(Tensors.floats(all.get(0)), three(step + 0.5));
        assertEquals(Tensors.floats(all.get(1)), new float[2]);
        assertSame(
            Tensors.dtype(all.get(0)), summed || !bf16 ? ScalarType.Float : ScalarType.BFloat16);
        assertEquals(used.grad().defined(), !summed);
        if (kept) {
          // The update's part.
          all.forEach(Tensor::zero_);
        }
        gradients.forget();
      }
    }
    assertFalse(used.grad().defined());
  }

  /** A loop that says which micro-batch is first leaves nothing to be set to zero. */
  @Test(dataProvider = "ways")
  public void aFirstMicroBatchBeginsTheSums(boolean bf16, boolean summed, boolean kept) {
    try (Gradients gradients = gradients(bf16, summed, kept)) {
      assertEquals(gradients.firstDiffers(), summed);
      for (double step = 1; step < 4; step++) {
        for (int i = 0; i < 3; i++) {
          gradients.beforeForward(i == 0);
          assertEquals(GradientSum.of(used) != null, summed);
          microBatch(gradients, step + 10 * i);
          assertNull(GradientSum.of(used));
        }
        assertEquals(gradients.zeroedByUpdate(), kept && !summed);
        List<Tensor> all = gradients.all();
        assertEquals(Tensors.floats(all.get(0)), three(3 * step + 30));
        assertEquals(Tensors.floats(all.get(1)), new float[2]);
        if (gradients.zeroedByUpdate()) {
          all.forEach(Tensor::zero_);
        }
        gradients.forget();
      }
      backward(1);
      expectThrows(IllegalStateException.class, gradients::accumulate);
    }
  }

  /** What a sum held in the step before does not come back where nothing reaches it. */
  @Test
  public void aSumThatNothingReachesAnyMoreIsZero() {
    for (boolean kept : new boolean[] {false, true}) {
      try (Gradients gradients = gradients(true, true, kept)) {
        gradients.beforeForward(true);
        microBatch(gradients, 3);
        assertEquals(Tensors.floats(gradients.all().get(0)), three(3));
        gradients.forget();
        gradients.beforeForward(true);
        gradients.beforeBackward(true);
        gradients.accumulate();
        assertEquals(Tensors.floats(gradients.all().get(0)), three(0));
        gradients.beforeForward(false);
        microBatch(gradients, 2);
        assertEquals(Tensors.floats(gradients.all().get(0)), three(2));
      }
    }
  }

  /** The next micro-batch is then the first one. */
  @Test
  public void aFirstMicroBatchThatFailedLeavesNothingOfTheLastStep() {
    for (boolean kept : new boolean[] {false, true}) {
      try (Gradients gradients = gradients(true, true, kept)) {
        gradients.beforeForward(true);
        microBatch(gradients, 3);
        gradients.forget();
        gradients.beforeForward(true);
        gradients.abandon();
        gradients.beforeForward(false);
        microBatch(gradients, 2);
        assertEquals(Tensors.floats(gradients.all().get(0)), three(2));
      }
    }
  }

  /** Squares of sums are those of the product that added last, as long as nothing else adds. */
  @Test
  public void squaresOfSumsAreTheLastProducts() {
    try (Gradients gradients = gradients(true, true, true)) {
      gradients.beforeForward(true);
      GradientSum sum = GradientSum.of(used);
      GradientSum.Target target = sum.target(2);
      target.values().fill_(new Scalar(3));
      target.squares().fill_(new Scalar(13.5));
      gradients.beforeBackward(true);
      gradients.accumulate();
      assertEquals(Tensors.floats(gradients.all().get(0)), three(3));
      assertEquals(Tensors.floats(gradients.squares().get(0)), new float[] {13.5f, 13.5f});
      assertNull(gradients.squares().get(1));
      gradients.beforeForward(false);
      microBatch(gradients, 1);
      assertEquals(Tensors.floats(gradients.all().get(0)), three(4));
      assertNull(gradients.squares().get(0));
    }
  }

  /**
   * What no gradient reached is null where gradients are the backward's, and a sum of zeros else.
   */
  @Test
  public void noneIsNull() {
    try (Gradients gradients = gradients(false, false, false)) {
      microBatch(gradients, 1);
      assertNull(gradients.orNull().get(1));
    }
    try (Gradients gradients = gradients(true, true, false)) {
      microBatch(gradients, 1);
      assertEquals(Tensors.floats(gradients.orNull().get(1)), new float[2]);
    }
  }

  /** bf16 holds no 257: the sum does. */
  @Test
  public void sumsAreFp32() {
    for (boolean kept : new boolean[] {false, true}) {
      try (Gradients gradients = gradients(true, true, kept)) {
        microBatch(gradients, 256);
        microBatch(gradients, 1);
        assertEquals(Tensors.floats(gradients.all().get(0)), three(257));
      }
    }
  }

  /** What a captured graph writes to has to stay where it is. */
  @Test
  public void keptSumsStayWhereTheyAre() {
    try (Gradients gradients = gradients(true, true, true)) {
      List<Long> addresses = new ArrayList<>();
      for (int step = 0; step < 3; step++) {
        microBatch(gradients, 1);
        addresses.add(gradients.orNull().get(0).data_ptr().address());
        gradients.forget();
      }
      assertEquals(addresses.stream().distinct().count(), 1);
    }
    try (Gradients gradients = gradients(false, false, true)) {
      backward(1);
      long address = used.grad().data_ptr().address();
      gradients.forget();
      backward(1);
      assertEquals(used.grad().data_ptr().address(), address);
    }
  }

  /** A micro-batch whose capture failed: its gradients were never computed. */
  @Test(dataProvider = "ways")
  public void anAbandonedMicroBatchLeavesTheSums(boolean bf16, boolean summed, boolean kept) {
    try (Gradients gradients = gradients(bf16, summed, kept)) {
      if (summed) {
        microBatch(gradients, 3);
        backward(100);
        gradients.abandon();
        assertFalse(used.grad().defined());
        microBatch(gradients, 1);
        assertEquals(Tensors.floats(gradients.all().get(0)), three(4));
      } else {
        // One micro-batch a step leaves nothing; more add up in the kept gradient itself.
        backward(3);
        gradients.abandon();
        assertEquals(used.grad().defined(), kept);
      }
    }
  }

  /** Of one micro-batch's gradient a product may know the squares, and of a sum's nobody does. */
  @Test(dataProvider = "ways")
  public void squaresAreKnownOfWhatAProductWrote(boolean bf16, boolean summed, boolean kept) {
    try (Gradients gradients = gradients(bf16, summed, kept)) {
      backward(3);
      KnownSquares.leave(used, used.grad(), Tensors.of(new float[] {9, 18}));
      gradients.accumulate();
      List<Tensor> squares = gradients.squares();
      assertEquals(squares.size(), 2);
      assertNull(squares.get(1));
      if (summed) {
        assertNull(squares.get(0));
      } else {
        assertEquals(Tensors.floats(squares.get(0)), new float[] {9, 18});
        microBatch(gradients, 1);
        assertNull(gradients.squares().get(0));
      }
    }
    assertNull(KnownSquares.of(used, used));
  }
}
