package moe4j.plan;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptModel;
import moe4j.moe.Moe;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class ParameterCountTest {
  private static final String SMALL =
      "--num-layers 3 --hidden-size 64 --num-attention-heads 4 --seq-length 16 ";
  private static final String GROUPED = SMALL + "--group-query-attention --num-query-groups 2 ";
  private static final String LLAMA =
      GROUPED + "--swiglu --ffn-hidden-size 96 --normalization RMSNorm --disable-bias-linear ";

  @DataProvider
  public Object[][] models() {
    return new Object[][] {
      {SMALL, ""},
      {SMALL + "--untie-embeddings-and-output-weights --max-position-embeddings 24", ""},
      {SMALL + "--position-embedding-type none --squared-relu --qk-layernorm", ""},
      {LLAMA + "--position-embedding-type rope --qk-layernorm --add-qkv-bias", ""},
      {SMALL + "--kv-channels 32", "--num-experts 4 --moe-ffn-hidden-size 32"},
      {LLAMA, "--num-experts 8 --moe-layer-freq [0]*1+[1]*2"},
      {GROUPED, "--num-experts 4 --fmoefy --add-expert-bias --balance-strategy noisy"},
      {GROUPED, "--num-experts 4 --balance-strategy naive"},
      {
        SMALL,
        "--num-experts 4 --moe-shared-expert-intermediate-size 48 --moe-shared-expert-gate"
            + " --moe-router-enable-expert-bias --moe-router-score-function sigmoid"
      },
      {LLAMA, "--num-experts 4 --moe-shared-expert-intermediate-size 32"},
    };
  }

  /** However it is split, a model's count is what the real one has. */
  @Test(dataProvider = "models")
  public void countsTheRealModel(String flags, String moe) {
    PlannedModel shape = Plans.model(flags, moe, 256);
    GptConfig config = Plans.gpt(flags);
    long real;
    try (ParameterSet parameters = Models.parameters(ScalarType.Float)) {
      var made =
          new GptModel(
              config, 256, Moe.feedForward(config.layerShape(), Plans.experts(moe)), parameters);
      real = made.parameters().elements();
    }
    for (int tp : new int[] {1, 2}) {
      for (int ep : new int[] {1, 2, 4}) {
        for (int etp : new int[] {1, 2}) {
          ParameterCount count = ParameterCount.of(shape, tp, ep, etp);
          assertEquals(count.model(), real, "TP %d EP %d ETP %d".formatted(tp, ep, etp));
          assertTrue(tp * ep * etp > 1 || count.rank() == real);
        }
      }
    }
  }

  @Test
  public void knownTotals() {
    assertEquals(ParameterCount.of(Plans.gpt2(Plans.GPT2, ""), 4, 1, 1).model(), 124_475_904L);
    // The dense blocks' 12 x 4,722,432 give way to routers of 96 x 768 and 96 experts.
    long experts = 124_475_904L - 12 * 4_722_432L + 12 * (96 * 768L + 96 * 2 * 768L * 1536);
    assertEquals(experts, 2_786_600_448L);
    PlannedModel model = Plans.gpt2(Plans.GPT2, Plans.EXPERTS);
    assertEquals(ParameterCount.of(model, 2, 16, 2).model(), experts);
    // Mixtral 8x7B has 46.7 billion.
    PlannedModel mixtral = Plans.model(Plans.MIXTRAL, "--num-experts 8", 32000);
    assertEquals(ParameterCount.of(mixtral, 8, 8, 1).model(), 46_702_792_704L);
  }

  @Test
  public void aRankHasItsPart() {
    PlannedModel model = Plans.gpt2(Plans.GPT2, Plans.EXPERTS);
    ParameterCount one = ParameterCount.of(model, 1, 1, 1);
    ParameterCount parts = ParameterCount.of(model, 4, 8, 2);
    assertEquals(parts.split() * 4, one.split());
    assertEquals(parts.whole(), one.whole());
    assertEquals(parts.experts() * 16, one.experts());
  }
}
