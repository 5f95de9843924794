package moe4j.model.gpt;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.testing.Seeds;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class GptConfigTest {
  private static final String SMALL =
      "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 16 ";

  private static GptConfig parse(String line) {
    return Flags.parse(GptConfig.class, Refusals.words(line));
  }

  @Test
  public void defaultsAreMegatronsButForDropout() {
    GptConfig config = parse(SMALL);
    assertEquals((int) config.ffnHiddenSize(), 256);
    assertEquals((int) config.kvChannels(), 16);
    assertEquals((int) config.maxPositionEmbeddings(), 16);
    assertEquals(config.positionEmbeddingType(), "learned_absolute");
    assertEquals(config.normalization(), "LayerNorm");
    assertEquals(config.normEpsilon(), 1e-5);
    assertEquals(config.initMethodStd(), 0.02);
    assertEquals(config.rotaryBase(), 10000);
    assertEquals(config.makeVocabSizeDivisibleBy(), 128);
    assertTrue(config.bias());
    assertFalse(config.untieEmbeddingsAndOutputWeights());
    assertEquals(config.attentionDropout(), 0.0);
    assertEquals(config.hiddenDropout(), 0.0);
  }

  @DataProvider
  public Object[][] swiglu() {
    return new Object[][] {
      {64, 128}, {192, 512}, {768, 2048}, {1024, 2688}, {4096, 10880}, {5120, 13632}
    };
  }

  @Test(dataProvider = "swiglu")
  public void swigluHasTwoThirdsInMultiplesOf64(int hidden, int ffn) {
    String line = "--num-layers 1 --num-attention-heads 1 --seq-length 1 --hidden-size " + hidden;
    assertEquals((int) parse(line + " --swiglu").ffnHiddenSize(), ffn);
    assertEquals((int) parse(line).ffnHiddenSize(), 4 * hidden);
    assertEquals((int) parse(line + " --swiglu --ffn-hidden-size 100").ffnHiddenSize(), 100);
  }

  @Test
  public void swigluOfAnySize() {
    Random random = Seeds.random(GptConfigTest.class);
    for (int round = 0; round < 200; round++) {
      int hidden = 1 + random.nextInt(20_000);
      int ffn =
          parse(
                  "--num-layers 1 --num-attention-heads 1 --seq-length 1 --swiglu --hidden-size "
                      + hidden)
              .ffnHiddenSize();
      // The same in whole numbers; a layer smaller than Megatron's rule can give has 64.
      assertEquals(ffn, Math.max(64, 8 * hidden / 192 * 64), "hidden size " + hidden);
    }
  }

  @Test
  public void groupsShareKeys() {
    GptConfig all = parse(SMALL);
    assertEquals(all.queryGroups(), 4);
    GptConfig grouped =
        parse(SMALL + "--group-query-attention --num-query-groups 2 --kv-channels 10");
    assertEquals(grouped.queryGroups(), 2);
  }

  @Test
  public void theVocabularyIsPadded() {
    GptConfig config = parse(SMALL);
    assertEquals(config.paddedVocabulary(1), 128);
    assertEquals(config.paddedVocabulary(128), 128);
    assertEquals(config.paddedVocabulary(50257), 50304);
    assertEquals(parse(SMALL + "--make-vocab-size-divisible-by 1").paddedVocabulary(257), 257);
  }

  @DataProvider
  public Object[][] impossible() {
    return new Object[][] {
      {"--num-layers 0", "--num-layers 0 is not positive"},
      {"--hidden-size -64", "--hidden-size -64 is not positive"},
      {
        "--num-attention-heads 3",
        "--hidden-size 64 is no multiple of --num-attention-heads 3 (give --kv-channels if that is"
            + " meant)"
      },
      {"--kv-channels 0", "--kv-channels 0 is not positive"},
      {"--ffn-hidden-size 0", "--ffn-hidden-size 0 is not positive"},
      {"--num-query-groups 2", "--num-query-groups 2 needs --group-query-attention"},
      {
        "--group-query-attention --num-query-groups 3",
        "--num-attention-heads 4 is no multiple of --num-query-groups 3"
      },
      {"--max-position-embeddings 15", "--max-position-embeddings 15 is less than --seq-length 16"},
      {
        "--position-embedding-type rope --kv-channels 15",
        "--rotary-percent 1.0 of 15 channels a head are 15: an even number of them can be rotated"
      },
      {
        "--position-embedding-type rope --rotary-percent 0.2",
        "--rotary-percent 0.2 of 16 channels a head are 3: an even number of them can be rotated"
      },
      {"--rotary-base 0", "--rotary-base 0 is not positive"},
      {"--rotary-base 500000", "--rotary-base needs --position-embedding-type rope"},
      {
        "--position-embedding-type none --rotary-percent 0.5",
        "--rotary-percent needs --position-embedding-type rope"
      },
      {"--rotary-interleaved", "--rotary-interleaved needs --position-embedding-type rope"},
      {"--norm-epsilon 0", "--norm-epsilon 0.0 is not positive"},
      {"--init-method-std -0.1", "--init-method-std -0.1 is negative"},
      {"--hidden-dropout 1", "--hidden-dropout 1.0 is not in [0, 1)"},
      {"--attention-dropout -0.1", "--attention-dropout -0.1 is not in [0, 1)"},
      {
        "--position-embedding-type relative",
        "--position-embedding-type takes learned_absolute, rope, none, not 'relative': its"
            + " biases between positions are T5's, which is not built; use rope"
      },
      {"--normalization rmsnorm", "--normalization takes LayerNorm, RMSNorm, not 'rmsnorm'"},
    };
  }

  @Test(dataProvider = "impossible")
  public void whatCannotBeIsRefused(String flags, String sentence) {
    assertEquals(Refusals.of(GptConfig.class, SMALL + flags), sentence);
  }

  @Test
  public void theShapeIsRequired() {
    for (String flag :
        new String[] {"num-layers", "hidden-size", "num-attention-heads", "seq-length"}) {
      assertEquals(
          Refusals.of(GptConfig.class, SMALL.replaceAll("--" + flag + " \\d+ ", "")),
          "--" + flag + " is required");
    }
  }
}
