package moe4j.kernels.optimizer;

import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import moe4j.kernels.cuda.Kernels;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.Test;

/** What can be said without a GPU; the rest is in {@code moe4j selftest}. */
public class FusedAdamWTest {
  @Test
  public void tensorsOnTheCpuAreRefused() {
    Scopes.run(
        () -> {
          Tensor t = torch.zeros(2, 3);
          assertFalse(Kernels.take(t));
          Moment first = new Moment(MomentType.FP32, false, t);
          Moment second = new Moment(MomentType.FP32, true, t);
          var slots = List.of(new FusedAdamW.Slot(t, t, first, second, null, 0.1));
          var refusal =
              expectThrows(
                  IllegalArgumentException.class, () -> new FusedAdamW(slots, 0.9, 0.95, 1e-8, 1));
          assertTrue(refusal.getMessage().contains("slot 0: a parameter"), refusal.getMessage());
        });
  }

  @Test
  public void anOptimizerOfNothingIsRefused() {
    expectThrows(
        IllegalArgumentException.class, () -> new FusedAdamW(List.of(), 0.9, 0.95, 1e-8, 1));
  }
}
