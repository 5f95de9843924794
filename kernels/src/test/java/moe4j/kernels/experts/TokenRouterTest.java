package moe4j.kernels.experts;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.Random;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.Test;

public class TokenRouterTest {
  /** Whatever a padded token's logits are, they have no part in anything. */
  @Test
  public void paddingMayBeAnything() {
    Random random = Seeds.random(TokenRouterTest.class);
    float[] values = Seeds.normals(random, 24);
    for (RouterScore score : RouterScore.values()) {
      float[][] gradients = new float[2][];
      for (boolean isNumber : new boolean[] {true, false}) {
        Scopes.run(
            () -> {
              Tensor logits = Tensors.of(values, 6, 4).clone();
              if (!isNumber) {
                logits.select(0, 2).fill_(new Scalar(Double.NaN));
              }
              logits = logits.set_requires_grad(true);
              Tensor padding = torch.arange(new Scalar(6)).eq(new Scalar(2));
              TokenRouter.Form form = new TokenRouter.Form(score, 2, 1, true, true);
              TokenRouter made =
                  TokenRouter.of(logits, form, new TokenRouter.Beside(null, padding));
              Tensor losses = made.losses().balance().add(made.losses().z());
              made.weight().square().sum().add(losses).backward();
              gradients[isNumber ? 0 : 1] = Tensors.floats(logits.grad().contiguous());
            });
      }
      assertEquals(gradients[1], gradients[0], score.toString());
      float[] padded = Arrays.copyOfRange(gradients[1], 8, 12);
      assertTrue(Arrays.equals(padded, new float[4]), Arrays.toString(padded));
    }
  }

  /**
   * A logit so low that its score is 0 gets a gradient of 0. Of a root's slope there, which is
   * infinite, nothing is to be seen.
   */
  @Test
  public void aScoreOfZeroHasNoGradient() {
    for (RouterScore score : RouterScore.values()) {
      for (float low : new float[] {-200, Float.NEGATIVE_INFINITY}) {
        Scopes.run(
            () -> {
              Tensor logits = Tensors.of(new float[] {1, low, 2, 0.5f}, 1, 4).clone();
              logits = logits.set_requires_grad(true);
              // The balance loss takes the scores of all experts, chosen or not.
              TokenRouter.Form form = new TokenRouter.Form(score, 2, 1, true, false);
              TokenRouter made = TokenRouter.of(logits, form, TokenRouter.Beside.NOTHING);
              made.weight().square().sum().add(made.losses().balance()).backward();
              float[] gradient = Tensors.floats(logits.grad().contiguous());
              String what = score + " of " + low + ": " + Arrays.toString(gradient);
              assertEquals(gradient[1], 0f, what);
              for (float each : gradient) {
                assertTrue(Float.isFinite(each), what);
              }
            });
      }
    }
  }

  /** One bias for all experts would be added to each of them, and change nothing. */
  @Test
  public void aBiasOrPaddingOfAnotherSizeIsRefused() {
    Scopes.run(
        () -> {
          Tensor logits = torch.zeros(3, 4);
          TokenRouter.Form form = new TokenRouter.Form(RouterScore.SIGMOID, 2, 1, true, true);
          for (TokenRouter.Beside beside :
              new TokenRouter.Beside[] {
                new TokenRouter.Beside(torch.zeros(1), null),
                new TokenRouter.Beside(null, torch.zeros(1).eq(new Scalar(1)))
              }) {
            expectThrows(
                IllegalArgumentException.class, () -> TokenRouter.of(logits, form, beside));
            expectThrows(
                IllegalArgumentException.class,
                () ->
                    TokenRouter.project(torch.zeros(3, 5), torch.zeros(4, 5), null, form, beside));
          }
        });
  }
}
