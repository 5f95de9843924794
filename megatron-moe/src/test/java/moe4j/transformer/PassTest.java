package moe4j.transformer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.Test;

public class PassTest {
  private static Tensor scalar(float value) {
    return Tensors.of(new float[] {value}).sum().set_requires_grad(true);
  }

  /** Each loss counts by its coefficient, whichever others have the same. */
  @Test
  public void theTotalIsOfAllLosses() {
    try (PointerScope scope = new PointerScope()) {
      Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
      Tensor main = scalar(2);
      assertEquals(Tensors.item(pass.total(main)), 2.0);
      double[] coefficients = {0.5, 0.25, 0.5, 0};
      Tensor[] losses = new Tensor[coefficients.length];
      double expected = 2;
      for (int i = 0; i < losses.length; i++) {
        losses[i] = scalar(3 + i);
        pass.addLoss(new Pass.SideLoss("loss" + i % 2, i, losses[i], coefficients[i]));
        expected += coefficients[i] * (3 + i);
      }
      Tensor total = pass.total(main);
      assertEquals(Tensors.item(total), expected, 1e-6);
      total.backward();
      assertEquals(Tensors.item(main.grad()), 1.0);
      for (int i = 0; i < losses.length; i++) {
        assertEquals(Tensors.item(losses[i].grad()), coefficients[i], "loss " + i);
      }
    }
  }

  /** One element may have dimensions, also beside a scalar of the same coefficient. */
  @Test
  public void aLossOfOneElementNeedNotBeAScalar() {
    try (PointerScope scope = new PointerScope()) {
      Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
      Tensor mean = Tensors.of(new float[] {3}).set_requires_grad(true);
      pass.addLoss(new Pass.SideLoss("one", 0, mean, 0.5));
      pass.addLoss(new Pass.SideLoss("other", 0, scalar(5), 0.5));
      Tensor total = pass.total(scalar(2));
      assertEquals(Tensors.item(total), 6.0);
      total.backward();
      assertEquals(Tensors.item(mean.grad()), 0.5);
    }
  }

  /** What is not reduced is told where it is left, and not by the sum of all. */
  @Test
  public void aLossOfSeveralElementsIsRefused() {
    try (PointerScope scope = new PointerScope()) {
      Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
      Tensor each = Tensors.of(new float[] {1, 2});
      Pass.SideLoss loss = new Pass.SideLoss("own loss", 2, each, 0.5);
      IllegalArgumentException e =
          expectThrows(IllegalArgumentException.class, () -> pass.addLoss(loss));
      assertEquals(
          e.getMessage(),
          "Layer 2 left the loss own loss of shape [2]: it needs one element, such as a mean.");
    }
  }
}
