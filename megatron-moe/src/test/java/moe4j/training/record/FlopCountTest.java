package moe4j.training.record;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;

import moe4j.config.Flags;
import moe4j.moe.MoeConfig;
import moe4j.transformer.TransformerConfig;
import org.testng.annotations.Test;

public class FlopCountTest {

  @Test
  public void gpt2() {
    TransformerConfig model =
        Flags.parse(
            TransformerConfig.class,
            "--num-layers",
            "12",
            "--hidden-size",
            "768",
            "--num-attention-heads",
            "12",
            "--seq-length",
            "1024");
    FlopCount count = FlopCount.of(model, MoeConfig.dense(), 50304);
    assertEquals(count.perToken(), 798_031_872.0);
    assertEquals(count.of(32), 32.0 * 1024 * 798_031_872.0);
  }

  @Test
  public void mixtral() {
    TransformerConfig model =
        Flags.parse(
            TransformerConfig.class,
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
    assertEquals(FlopCount.of(model, moe, 32000).perToken(), 79_706_456_064.0);
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
    TransformerConfig model = Flags.parse(TransformerConfig.class, flags);
    MoeConfig moe =
        Flags.parse(
            MoeConfig.class,
            "--num-experts",
            "8",
            "--moe-ffn-hidden-size",
            "512",
            "--moe-layer-freq",
            "2");
    FlopCount experts = FlopCount.of(model, moe, 512);
    assertEquals(experts.moeLayers(), 2);
    assertEquals(experts.of(7), FlopCount.of(model, MoeConfig.dense(), 512).of(7));
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
