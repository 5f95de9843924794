package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import moe4j.config.Flags;
import moe4j.moe.MoeConfig;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Operations of a step against loops over layers, queries and keys. */
public class TransformerXlFlopsTest {
  private static final int VOCABULARY = 60;

  private static TransformerXlConfig config(String more) {
    String shape =
        "--n-layer 3 --d-model 20 --n-head 2 --d-head 6 --d-inner 36 --tgt-len 7 " + more;
    return Flags.parse(TransformerXlConfig.class, shape.strip().split(" "));
  }

  /** Of one column's segment, of so many that share what a batch computes once. */
  private static double perSegment(
      TransformerXlConfig config, MoeConfig moe, int vocabulary, int columns) {
    return TransformerXlCosts.of(config, moe, vocabulary).flops(columns, columns) / columns;
  }

  /** A product forward and as many backward, a multiplication and an addition each. */
  private static double product(int backward, double rows, double inner, double columns) {
    return (1 + backward) * 2 * rows * inner * columns;
  }

  private static double bruteForce(TransformerXlConfig config, int columns, int perToken) {
    int queries = config.extLen() + config.tgtLen();
    int memory = config.memLen();
    int h = config.dModel();
    int inner = config.nHead() * config.dHead();
    double count = 0;
    for (int layer = 0; layer < config.nLayer(); layer++) {
      count += product(2, queries, h, inner);
      // Of keys and values of the memory: their weights learn from them, and nothing before.
      for (int key = 0; key < memory + queries; key++) {
        count += product(key < memory ? 1 : 2, 1, h, 2 * inner);
      }
      count += product(1, memory + queries, h, inner) / columns;
      for (int i = 0; i < queries; i++) {
        for (int j = 0; j < memory + queries; j++) {
          boolean future = j > i + memory;
          boolean tooFar = config.sameLength() && j <= i;
          for (int head = 0; !future && !tooFar && head < config.nHead(); head++) {
            // Content, position, and the sum of values.
            count += 3 * product(2, 1, config.dHead(), 1);
          }
        }
      }
      count += product(2, queries, inner, h);
      count += product(2, queries, h, perToken) + product(2, queries, perToken, h);
    }
    return count;
  }

  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {
      {""},
      {"--mem-len 7"},
      {"--mem-len 11 --same-length"},
      {"--mem-len 5 --ext-len 3"},
      {"--mem-len 8 --pre-lnorm --clamp-len 4 --not-tied"},
    };
  }

  @Test(dataProvider = "shapes")
  public void asCounted(String more) {
    TransformerXlConfig config = config(more);
    double expected = bruteForce(config, 5, 36) + product(2, config.tgtLen(), 20, VOCABULARY);
    assertEquals(perSegment(config, MoeConfig.dense(), VOCABULARY, 5), expected, 1e-9 * expected);
  }

  /** Clusters and projections: what the layers do is the same, what is around them is not. */
  @Test
  public void aroundTheLayers() {
    String more = "--mem-len 7 --adaptive --cutoffs 20 45";
    double layers = bruteForce(config("--mem-len 7"), 5, 36);
    double t = 7;
    assertCounted(
        more, layers + product(2, t, 20, 22) + product(2, t, 20, 25) + product(2, t, 20, 15));
    assertCounted(
        "--mem-len 7 --d-embed 12",
        layers + product(2, t, 12, 20) + product(2, t, 20, 12) + product(2, t, 12, VOCABULARY));
    // Embeddings of 20, 10 and 5 channels, each projected, in and out.
    double projections = product(2, t, 20, 20) + product(2, t, 10, 20) + product(2, t, 5, 20);
    assertCounted(
        more + " --div-val 2",
        layers
            + 2 * projections
            + product(2, t, 20, 22)
            + product(2, t, 10, 25)
            + product(2, t, 5, 15));
  }

  private static void assertCounted(String more, double expected) {
    assertEquals(
        perSegment(config(more), MoeConfig.dense(), VOCABULARY, 5),
        expected,
        1e-9 * expected,
        more);
  }

  /** Two of eight experts of half the size are as much as the dense layer they stand for. */
  @Test
  public void expertsThatAreChosenCount() {
    TransformerXlConfig config = config("--mem-len 7");
    double dense = perSegment(config, MoeConfig.dense(), VOCABULARY, 5);
    MoeConfig fmoefied = MoeConfig.parse("--num-experts", "8", "--top-k", "2", "--fmoefy");
    MoeConfig half =
        MoeConfig.parse("--num-experts", "8", "--top-k", "2", "--moe-ffn-hidden-size", "18");
    assertEquals(perSegment(config, fmoefied, VOCABULARY, 5), dense);
    assertEquals(perSegment(config, half, VOCABULARY, 5), dense);
    MoeConfig some =
        MoeConfig.parse(
            "--num-experts",
            "8",
            "--top-k",
            "3",
            "--moe-ffn-hidden-size",
            "10",
            "--moe-layer-freq",
            "[0,1,0]");
    double fewer = perSegment(config, some, VOCABULARY, 5);
    assertEquals(dense - fewer, 2 * product(2, 7, 20, 36 - 30), 1e-9 * dense);
  }

  /** The presets of enwik8 are of one size, FastMoE's point. */
  @Test
  public void presetsComputeAlike() {
    double[] counts = new double[2];
    String[] presets = {"enwik8-base", "enwik8-base-moe64"};
    for (int i = 0; i < 2; i++) {
      TransformerXlRun run = SmallRun.parse("--preset", presets[i]);
      counts[i] = perSegment(run.model(), run.config().moe(), 204, 22);
    }
    assertEquals(counts[1], counts[0]);
    // 41 million weights met six times by 512 positions, and attention beside them.
    assertTrue(counts[0] > 6 * 37.8e6 * 512 && counts[0] < 9 * 41e6 * 512, counts[0] + "");
  }
}
