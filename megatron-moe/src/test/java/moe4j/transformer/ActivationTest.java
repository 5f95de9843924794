package moe4j.transformer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import moe4j.kernels.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.Test;

public class ActivationTest {
  private static final String FLAGS =
      "--num-layers 1 --hidden-size 8 --num-attention-heads 1 --seq-length 4";

  @Test
  public void theConfigurations() {
    assertSame(Activation.of(Models.config(FLAGS)), Activation.GELU);
    assertSame(Activation.of(Models.config(FLAGS + " --swiglu")), Activation.SWIGLU);
  }

  /** Values of the exact function; the one by tanh differs in the fourth digit. */
  @Test
  public void geluIsExact() {
    try (PointerScope scope = new PointerScope()) {
      float[] y =
          Tensors.floats(Activation.GELU.apply(Tensors.of(new float[] {-3, -1, 0, 0.5f, 1, 2})));
      double[] expected = {-0.004049693, -0.158655254, 0, 0.345731230, 0.841344746, 1.954499736};
      for (int i = 0; i < y.length; i++) {
        assertEquals(y[i], expected[i], 1e-6);
      }
    }
  }

  /** The first half is the gate. */
  @Test
  public void swiglu() {
    try (PointerScope scope = new PointerScope()) {
      float[] x = {1, -2, 0.5f, 3, 4, -5, 0, 10, 2, 2, 7, -1};
      Tensor y = Activation.SWIGLU.apply(Tensors.of(x, 2, 6));
      assertEquals(y.shape(), new long[] {2, 3});
      float[] values = Tensors.floats(y);
      for (int row = 0; row < 2; row++) {
        for (int i = 0; i < 3; i++) {
          double a = x[6 * row + i];
          double b = x[6 * row + 3 + i];
          assertEquals(values[3 * row + i], a / (1 + Math.exp(-a)) * b, 1e-5);
        }
      }
      assertEquals(Activation.SWIGLU.inputs(), 2);
      assertEquals(Activation.GELU.inputs(), 1);
    }
  }
}
