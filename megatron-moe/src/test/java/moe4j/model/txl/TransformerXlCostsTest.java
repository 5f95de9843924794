package moe4j.model.txl;

import static org.testng.Assert.assertEquals;

import java.util.List;
import java.util.Map;
import java.util.function.Function;
import moe4j.config.Flags;
import moe4j.cost.Amount;
import moe4j.cost.Costs;
import moe4j.cost.ModelPart;
import moe4j.cost.Placement;
import moe4j.moe.MoeConfig;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Memory and traffic of a Transformer-XL's step, counted by hand. */
public class TransformerXlCostsTest {
  private static final int VOCABULARY = 96;

  /** Three layers, h = 20, two heads of 6, 36 hidden channels; 7 positions and a memory. */
  private static Costs costs(String more) {
    String shape =
        "--n-layer 3 --d-model 20 --n-head 2 --d-head 6 --d-inner 36 --tgt-len 7 " + more;
    TransformerXlConfig config = Flags.parse(TransformerXlConfig.class, shape.strip().split(" "));
    return TransformerXlCosts.of(config, MoeConfig.dense(), VOCABULARY);
  }

  /** Bytes of two samples in one micro-batch, with two bytes an element. */
  private static double bytes(Costs costs, Function<ModelPart, List<Amount>> of) {
    Placement placement = new Placement(2, 1, 1, false, 1, 1, 1);
    double sum = 0;
    for (Map.Entry<ModelPart, Integer> part : costs.parts().entrySet()) {
      for (Amount amount : of.apply(part.getKey())) {
        sum += part.getValue() * amount.on(placement, 2);
      }
    }
    return sum;
  }

  /** Norms of r rows and of 7, each with its sum, its output and two statistics. */
  private static double norms(int rows) {
    return 2 * (rows + 7) * (2 * 20 * 2 + 2 * 4);
  }

  @DataProvider
  public Object[][] models() {
    // Queries, keys, values, output of 12 channels each, and fp32 log-sums of two heads; 36
    // channels behind a ReLU. A micro-batch has its positions' keys once, in each layer, and the
    // sinusoids that they are made of.
    // Weights of two heads, by tiles of 64 keys.
    double plain = 2 * 7 * (4 * 12 * 2 + 2 * 4 + 36 * 2 + 2 * 64 * 2);
    double keys = 7 * 12 * 2;
    double memory = 2 * 5 * (2 * 12 * 2);
    // The memory, and it and the segment one after the other.
    double joined = 2 * 5 * 20 * 2 + 2 * 12 * 20 * 2;
    double longer = 12 * 12 * 2;
    double logits = 2 * 7 * VOCABULARY * 2;
    // Embeddings of 16, 8 and 4 channels, projected; two of the three clusters have a symbol.
    double projected = 2 * 2 * 7 * (16 + 8 + 4) * 2;
    double clusters = 2 * 7 * (VOCABULARY + 2) * 2;
    // Each norm reads or writes h channels eight times, a ReLU its 36 five times.
    double moved = 2 * (7 + 7) * 8 * 20 * 2 + 2 * 7 * 5 * 36 * 2;
    double premoved = 2 * (12 + 7) * 8 * 20 * 2 + 2 * 7 * 5 * 36 * 2;
    double copied = 2 * 12 * 2 * 20 * 2 + 2 * 5 * 2 * 20 * 2;
    double looked = 2 * 7 * 8 * 20 * 2;
    return new Object[][] {
      {
        "--mem-len 0",
        3 * (norms(7) + plain + keys) + 7 * 20 * 2 + logits,
        3 * moved + looked + 2 * logits
      },
      {
        "--mem-len 5",
        3 * (norms(7) + plain + memory + joined + longer) + 12 * 20 * 2 + logits,
        3 * (moved + copied) + looked + 2 * logits
      },
      {
        "--mem-len 5 --pre-lnorm --d-embed 16 --adaptive --cutoffs 20 50 --div-val 2",
        3 * (norms(12) + plain + memory + joined + longer) + 12 * 20 * 2 + projected + clusters,
        3 * (premoved + copied) + looked + 2 * clusters
      },
    };
  }

  @Test(dataProvider = "models")
  public void memoryAndTraffic(String more, double kept, double moved) {
    Costs costs = costs(more);
    assertEquals(bytes(costs, part -> part.memory().kept()), kept, 1e-6);
    assertEquals(bytes(costs, part -> part.work().moved()), moved, 1e-6);
  }

  /** What gradients need beside that: of a layer's attention, and of its feed-forward block. */
  @Test
  public void working() {
    Costs costs = costs("--mem-len 5");
    double attention = 2 * 7 * (20 + 2 * 12) * 2 + 2 * 12 * 2 * 12 * 2;
    double feedForward = 2 * 7 * (2 * 20 + 2 * 36) * 2;
    assertEquals(
        bytes(costs, part -> part.memory().working()), 3 * (attention + feedForward), 1e-6);
  }
}
