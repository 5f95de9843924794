package moe4j.transformer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

public class ActivationTest {
  private static final String FLAGS =
      "--num-layers 1 --hidden-size 8 --num-attention-heads 1 --seq-length 4";

  @Test
  public void theConfigurations() {
    assertSame(Models.config(FLAGS).activation(), Activation.GELU);
    assertSame(Models.config(FLAGS + " --swiglu").activation(), Activation.SWIGLU);
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

  /** libtorch's own gradient of the same function, in fp64. */
  @Test
  public void gradients() {
    Random random = Seeds.random(ActivationTest.class);
    try (PointerScope scope = new PointerScope()) {
      for (Activation activation : Activation.values()) {
        for (long[] shape : new long[][] {{1, 2}, {7, 10}, {2, 3, 8}, {0, 4}}) {
          Tensor x =
              Models.normals(random, shape)
                  .mul(new Scalar(3))
                  .to(ScalarType.Double)
                  .set_requires_grad(true);
          Tensor y = activation.apply(x);
          shape[shape.length - 1] /= activation.inputs();
          assertEquals(y.shape(), shape);
          Tensor upstream = Models.normals(random, shape).to(ScalarType.Double);
          y.mul(upstream).sum().backward();
          Tensor gradient = activation.gradient(upstream, x.detach());
          assertEquals(gradient.shape(), x.shape());
          double distance = Tensors.item(gradient.sub(x.grad()).norm());
          assertTrue(
              distance <= 1e-13 * (1 + Tensors.item(x.grad().norm())),
              activation + ": " + distance);
        }
      }
    }
  }
}
