package moe4j.plan;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class StepWorkTest {
  private static final Gpu H200 = Gpu.named("h200");

  @DataProvider
  public Object[][] models() {
    String mixtral = Plans.MIXTRAL;
    return new Object[][] {
      {Plans.model(mixtral, "", 32000)},
      {Plans.model(mixtral, "--num-experts 8", 32000)},
      {
        Plans.model(
            mixtral,
            "--num-experts 16 --fmoefy --moe-layer-freq 2 --moe-shared-expert-intermediate-size 1024",
            32000)
      },
      {Plans.gpt2(Plans.GPT2, Plans.EXPERTS)},
    };
  }

  /** The ranks of a TP group share a micro-batch's FLOPs, which are Megatron's count. */
  @Test(dataProvider = "models")
  public void flops(PlannedModel model) {
    double whole = model.costs().flops(2, 2);
    boolean experts = model.hasExperts();
    for (int tp : new int[] {1, 2, 4}) {
      for (int etp : experts ? new int[] {1, tp} : new int[] {1}) {
        for (int ep : experts ? new int[] {1, 4} : new int[] {1}) {
          PlannedLayout layout = Plans.layout(16, tp, ep, etp, false, 2, 32);
          StepWork work = StepWork.of(model, layout, Plans.BALANCED, H200);
          assertEquals(tp * work.flops(), whole, 1e-9 * whole, layout.toString());
        }
      }
    }
  }

  /** Only ranks that do not have all experts can be fuller than others. */
  @Test
  public void imbalanceIsOfTheExperts() {
    PlannedModel model = Plans.model(Plans.MIXTRAL, "--num-experts 8", 32000);
    Choices uneven = new Choices(false, 1.5);
    PlannedLayout alone = Plans.layout(8, 1, 1, 1, false, 1, 8);
    PlannedLayout spread = Plans.layout(8, 1, 8, 1, false, 1, 8);
    assertEquals(
        StepWork.of(model, alone, uneven, H200), StepWork.of(model, alone, Plans.BALANCED, H200));
    StepWork even = StepWork.of(model, spread, Plans.BALANCED, H200);
    StepWork full = StepWork.of(model, spread, uneven, H200);
    assertEquals(full.products(), even.products());
    assertTrue(full.grouped() > 1.4 * even.grouped() && full.grouped() < 1.5 * even.grouped());
    PlannedModel padded =
        Plans.model(
            Plans.MIXTRAL,
            "--num-experts 8 --moe-expert-capacity-factor 1.25 --moe-pad-expert-input-to-capacity",
            32000);
    assertEquals(
        StepWork.of(padded, spread, uneven, H200),
        StepWork.of(padded, spread, Plans.BALANCED, H200));
  }

  /** Gradients of 2 bytes are read, and sums of 4 read and written, if there is more than one. */
  @Test
  public void sumsOfGradients() {
    PlannedModel model = Plans.gpt2(Plans.GPT2, "");
    StepWork one = StepWork.of(model, Plans.single(8), Plans.BALANCED, H200);
    PlannedLayout two = Plans.layout(1, 1, 1, 1, false, 8, 16);
    double more = StepWork.of(model, two, Plans.BALANCED, H200).memory() - one.memory();
    assertEquals(more, 124_475_904 * (2 + 2 * 4) / (0.8 * 4.8e12), 1e-12);
  }

  /** Attention's fp32 weights pass through memory ten times, twelve layers' of 4 x 1024^2 x 12. */
  @Test
  public void dropoutOfAttention() {
    PlannedModel dropped = Plans.gpt2(Plans.GPT2 + " --attention-dropout 0.1", "");
    double plain =
        StepWork.of(Plans.gpt2(Plans.GPT2, ""), Plans.single(4), Plans.BALANCED, H200).attention();
    double more = StepWork.of(dropped, Plans.single(4), Plans.BALANCED, H200).attention() - plain;
    assertEquals(more, 10 * 12 * 4.0 * (4 << 20) * 12 / (0.8 * 4.8e12), 1e-12);
  }

  @Test
  public void sharesOfThePeak() {
    assertEquals(Calibration.product(200, 5000), 0.4);
    assertTrue(Calibration.product(4096, 4096) < 0.8);
    assertEquals(Calibration.grouped(4096, 14336), Calibration.grouped(768, 1536));
    assertTrue(Calibration.grouped(4096, 128) < 0.6 * Calibration.grouped(4096, 768));
    assertTrue(Calibration.attention(128, 4096) > Calibration.attention(64, 1024));
    assertEquals(Calibration.output(768, 50304), Calibration.output(8192, 128256));
  }
}
