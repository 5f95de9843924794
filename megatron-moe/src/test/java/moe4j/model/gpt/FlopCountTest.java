package moe4j.model.gpt;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;

import moe4j.config.Flags;
import moe4j.cost.Costs;
import moe4j.moe.MoeConfig;
import moe4j.record.Peak;
import org.testng.annotations.Test;

public class FlopCountTest {

  @Test
  public void gpt2() {
    GptConfig model =
        Flags.parse(
            GptConfig.class,
            "--num-layers",
            "12",
            "--hidden-size",
            "768",
            "--num-attention-heads",
            "12",
            "--seq-length",
            "1024");
    Costs count = GptCosts.of(model, MoeConfig.dense(), 50304);
    assertEquals(count.flops(1, 1) / 1024, 798_031_872.0);
    assertEquals(count.flops(32, 8), 32.0 * 1024 * 798_031_872.0);
  }

  @Test
  public void mixtral() {
    GptConfig model =
        Flags.parse(
            GptConfig.class,
            "--num-layers",
            "32",
            "--hidden-size",
            "4096",
            "--num-attention-heads",
            "32",
            "--group-query-attention",
            "--num-query-groups",
            "8",
            "--ffn-hidden-size",
            "14336",
            "--swiglu",
            "--seq-length",
            "4096");
    MoeConfig moe = Flags.parse(MoeConfig.class, "--num-experts", "8", "--moe-router-topk", "2");
    assertEquals(GptCosts.of(model, moe, 32000).flops(1, 1) / 4096, 79_706_456_064.0);
  }

  @Test
  public void everyOtherLayerWithExpertsOfHalfTheSizeCostsAsMuchAsDense() {
    String[] flags = {
      "--num-layers",
      "4",
      "--hidden-size",
      "256",
      "--num-attention-heads",
      "4",
      "--seq-length",
      "256"
    };
    GptConfig model = Flags.parse(GptConfig.class, flags);
    MoeConfig moe =
        Flags.parse(
            MoeConfig.class,
            "--num-experts",
            "8",
            "--moe-ffn-hidden-size",
            "512",
            "--moe-layer-freq",
            "2");
    Costs experts = GptCosts.of(model, moe, 512);
    assertEquals(experts.flops(7, 1), GptCosts.of(model, MoeConfig.dense(), 512).flops(7, 1));
  }

  /** An expert of a k-th of the dense size costs as much, and a shared one comes on top. */
  @Test
  public void fmoefyCostsAsMuchAsDense() {
    GptConfig model =
        Flags.parse(
            GptConfig.class,
            ("--num-layers 3 --hidden-size 48 --num-attention-heads 4 --seq-length 20 --swiglu"
                    + " --ffn-hidden-size 120")
                .split(" "));
    double dense = GptCosts.of(model, MoeConfig.dense(), 512).flops(7, 1);
    for (int k : new int[] {1, 2, 3, 4}) {
      String[] line = ("--fmoefy --num-experts 8 --moe-router-pre-softmax --top-k " + k).split(" ");
      assertEquals(GptCosts.of(model, MoeConfig.parse(line), 512).flops(7, 1), dense);
    }
    String shared = "--fmoefy --num-experts 8 --moe-shared-expert-intermediate-size 10";
    double both = GptCosts.of(model, MoeConfig.parse(shared.split(" ")), 512).flops(7, 1);
    assertEquals(both - dense, 7.0 * 20 * 6 * 48 * 3 * 10 * 3);
  }

  @Test
  public void peaks() {
    assertEquals(
        new Peak("measured bf16 matrix product", 0.4016e12).toString(),
        "0.402 TFLOP/s (measured bf16 matrix product)");
    assertEquals(new Peak("any", 2e12).percent(5e11), 25.0);
    assertThrows(IllegalArgumentException.class, () -> new Peak("none", 0));
  }
}
