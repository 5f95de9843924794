package moe4j.moe;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.testing.Seeds;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class MoeConfigTest {
  private final Random random = Seeds.random(MoeConfigTest.class);

  private static MoeConfig parse(String line) {
    return Flags.parse(MoeConfig.class, Refusals.words(line));
  }

  /** The layers of a pattern, as zeros and ones. */
  private static String layers(String frequency, int layers) {
    StringBuilder digits = new StringBuilder();
    for (boolean moe :
        Flags.parse(MoeConfig.class, "--num-experts", "4", "--moe-layer-freq", frequency)
            .moeLayers(layers)) {
      digits.append(moe ? '1' : '0');
    }
    return digits.toString();
  }

  private static String refusal(String frequency, int layers) {
    return expectThrows(IllegalArgumentException.class, () -> layers(frequency, layers))
        .getMessage();
  }

  @DataProvider
  public Object[][] patterns() {
    return new Object[][] {
      {"1", "11111"},
      {"2", "10101"},
      {"3", "1001001"},
      {"9", "1000"},
      {"[0,1]", "01"},
      {"[0]*1+[1]*3", "0111"},
      {"[0]+[1]", "01"},
      {"[0,1]*3", "010101"},
      {"([0]+[1]*2)*2", "011011"},
      {"([0]*2+[1])*2+[0]", "0010010"},
      {" [0, 1] * 2 + [1] ", "01011"},
      {"[1]*0+[0,1]", "01"},
    };
  }

  @Test(dataProvider = "patterns")
  public void aFrequencyIsANumberOrAPattern(String frequency, String expected) {
    assertEquals(layers(frequency, expected.length()), expected);
  }

  @Test
  public void patternsAreSumsAndProductsOfLists() {
    for (int round = 0; round < 300; round++) {
      StringBuilder pattern = new StringBuilder();
      StringBuilder expected = new StringBuilder();
      for (int terms = 1 + random.nextInt(4); terms > 0; terms--) {
        StringBuilder once = new StringBuilder();
        StringBuilder term = new StringBuilder();
        for (int digits = 1 + random.nextInt(3); digits > 0; digits--) {
          int digit = random.nextInt(2);
          once.append(digit);
          term.append(term.length() == 0 ? "" : ",").append(digit);
        }
        int times = 1 + random.nextInt(12);
        boolean inParentheses = random.nextBoolean();
        pattern
            .append(pattern.length() == 0 ? "" : "+")
            .append(inParentheses ? "([" + term + "])*" + times : "[" + term + "]*" + times);
        expected.append(once.toString().repeat(times));
      }
      // A pattern without experts is refused.
      pattern.append("+[1]");
      expected.append(1);
      assertEquals(layers(pattern.toString(), expected.length()), expected.toString());
    }
  }

  @DataProvider
  public Object[][] malformed() {
    return new Object[][] {
      {""},
      {"x"},
      {"1.5"},
      {"-1"},
      {"[2]"},
      {"[]"},
      {"[0,]"},
      {"[0]*"},
      {"[0]+"},
      {"+[0]"},
      {"[0][1]"},
      {"[0]*1+[1"},
      {"()"},
      {"([0]"},
      {"[0]*-1"},
      {"[0]-[1]"},
      {"[0]*1 and [1]"},
    };
  }

  @Test(dataProvider = "malformed")
  public void whatIsNoPatternIsRefused(String frequency) {
    assertEquals(
        refusal(frequency, 2),
        "--moe-layer-freq takes a number or a pattern such as [0]*1+[1]*11, not '%s'"
            .formatted(frequency));
  }

  @Test
  public void aPatternHasAsManyLayersAsTheModel() {
    assertEquals(
        refusal("[0]*1+[1]*11", 8),
        "--moe-layer-freq [0]*1+[1]*11 describes 12 layers, --num-layers says 8");
    assertEquals(refusal("0", 8), "--moe-layer-freq 0 is not positive");
  }

  /** Experts that no layer has would be a dense model without a word. */
  @Test
  public void aPatternHasALayerWithExperts() {
    for (String none : new String[] {"[0]*2", "[0,0]", "[1]*0+[0,0]", "([0])*2", "[0]+[0]"}) {
      assertEquals(
          refusal(none, 2),
          "--moe-layer-freq %s leaves no layer for experts: have a 1 in it, or leave out --num-experts"
              .formatted(none));
    }
    // The first layer has some however few there are.
    assertEquals(layers("9", 1), "1");
  }

  @Test
  public void withoutExpertsTheModelIsDense() {
    assertEquals(parse(""), MoeConfig.dense());
    assertFalse(parse("").enabled());
    assertEquals(parse("").moeLayers(3), new boolean[3]);
    assertTrue(parse("--num-experts 8").enabled());
  }

  @Test
  public void expertsHaveTheModelsSizeOrTheirOwn() {
    GptConfig model =
        Flags.parse(
            GptConfig.class,
            Refusals.words(
                "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 16"));
    assertEquals(parse("--num-experts 8").expertHiddenSize(model.layerShape()), 256);
    assertEquals(
        parse("--num-experts 8 --moe-ffn-hidden-size 96").expertHiddenSize(model.layerShape()), 96);
  }

  @DataProvider
  public Object[][] impossible() {
    return new Object[][] {
      {"--num-experts 0", "--num-experts 0 is not positive"},
      {"--moe-ffn-hidden-size 64", "--moe-ffn-hidden-size needs --num-experts"},
      {"--moe-layer-freq 2", "--moe-layer-freq needs --num-experts"},
      {"--moe-router-topk 4", "--moe-router-topk needs --num-experts"},
      {"--moe-router-pre-softmax", "--moe-router-pre-softmax needs --num-experts"},
      {
        "--moe-router-load-balancing-type none",
        "--moe-router-load-balancing-type needs --num-experts"
      },
      {"--moe-aux-loss-coeff 1e-2", "--moe-aux-loss-coeff needs --num-experts"},
      {"--moe-z-loss-coeff 1e-3", "--moe-z-loss-coeff needs --num-experts"},
      {
        "--num-experts 4 --moe-router-topk 5",
        "--moe-router-topk 5 is not between 1 and --num-experts 4"
      },
      {
        "--num-experts 4 --moe-router-topk 0",
        "--moe-router-topk 0 is not between 1 and --num-experts 4"
      },
      {
        "--num-experts 4 --moe-router-topk 1",
        "--moe-router-topk 1 needs --moe-router-pre-softmax: a softmax over one expert is 1 and"
            + " teaches the router nothing"
      },
      {"--num-experts 4 --moe-ffn-hidden-size 0", "--moe-ffn-hidden-size 0 is not positive"},
      {"--moe-aux-loss-coeff -0.1", "--moe-aux-loss-coeff -0.1 is negative"},
      {"--moe-z-loss-coeff -1e-3", "--moe-z-loss-coeff -0.001 is negative"},
      {
        "--moe-router-load-balancing-type sinkhorn",
        "--moe-router-load-balancing-type takes aux_loss, seq_aux_loss, global_aux_loss, none, not"
            + " 'sinkhorn': it is not built, as each of its rounds would ask the GPU whether it is"
            + " the last, which no captured step can; use aux_loss or, without a loss,"
            + " --moe-router-enable-expert-bias"
      },
      {
        "--num-experts 4 --moe-token-dispatcher-type flex",
        "--moe-token-dispatcher-type takes alltoall, allgather, not 'flex': it needs DeepEP or"
            + " HybridEP, which come later; use alltoall"
      },
      {
        "--num-experts 4 --moe-token-dispatcher-type mail",
        "--moe-token-dispatcher-type takes alltoall, allgather, not 'mail'"
      },
    };
  }

  @Test(dataProvider = "impossible")
  public void whatCannotBeIsRefused(String flags, String sentence) {
    assertEquals(Refusals.of(MoeConfig.class, flags), sentence);
  }

  @Test
  public void oneExpertATokenNeedsTheSoftmaxBefore() {
    assertEquals(
        parse("--num-experts 4 --moe-router-topk 1 --moe-router-pre-softmax").moeRouterTopk(), 1);
    assertEquals(parse("--num-experts 1 --moe-router-topk 1").moeRouterTopk(), 1);
  }
}
