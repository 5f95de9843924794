package moe4j.report;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.record.ExpertLoad;
import moe4j.record.RunHistory.LoadPoint;
import moe4j.record.RunHistory.Moment;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class LoadFindingsTest {
  private static final String HINT =
      "No flag of this run balances the load: --moe-aux-loss-coeff 1e-2 adds a loss that does.";

  private final Random random = Seeds.random(LoadFindingsTest.class);

  private static LoadPoint point(int step, ExpertLoad.Layer... layers) {
    return new LoadPoint(
        new Moment(step, 16L * step, 4096L * step, 0.5 * step), new ExpertLoad(List.of(layers)));
  }

  private static ExpertLoad.Layer layer(int number, long dropped, long... tokens) {
    List<Long> list = new ArrayList<>();
    for (long count : tokens) {
      list.add(count);
    }
    return new ExpertLoad.Layer(number, list, dropped);
  }

  /** A balanced layer of four experts with an entropy. */
  private static ExpertLoad.Layer entropy(int number, double nats) {
    return new ExpertLoad.Layer(
        number, Collections.nCopies(4, 25L), 0, Map.of(), Map.of(ExpertLoad.ROUTER_ENTROPY, nats));
  }

  @Test
  public void balanced() {
    // Loads over the mean are 0.9, 1.1, 1, 1: a CV of 0.07.
    List<String> sentences =
        LoadFindings.of(
            List.of(point(10, layer(1, 0, 90, 110, 100, 100), layer(3, 0, 99, 101, 100, 100))),
            false);
    assertEquals(
        sentences,
        List.of(
            "Up to step 10 the load is balanced: the worst CV is 0.07 (layer 1), and the least that"
                + " any expert takes is 0.90 of its share (expert 0 of layer 1)."));
  }

  @Test
  public void onlyTheLastQuarterCounts() {
    List<LoadPoint> points = new ArrayList<>();
    for (int i = 1; i <= 12; i++) {
      boolean early = i <= 9;
      points.add(point(10 * i, layer(0, 0, early ? 0 : 50, 50, 50, early ? 500 : 50)));
    }
    assertEquals(
        LoadFindings.of(points, true),
        List.of(
            "Over steps 91 to 120 the load is balanced: the worst CV is 0.00 (layer 0), and the"
                + " least that any expert takes is 1.00 of its share (expert 0 of layer 0)."));
    points.set(9, point(100, layer(0, 0, 0, 50, 50, 5000)));
    assertTrue(LoadFindings.of(points, true).get(0).contains("something is wrong in 1 of 1"));
  }

  /** Three tokens an expert and point vary by half; many points together do not. */
  @Test
  public void fewTokensAPointAreNoImbalance() {
    List<LoadPoint> points = new ArrayList<>();
    double cv = 0;
    for (int i = 1; i <= 400; i++) {
      long[] tokens = new long[8];
      for (int t = 0; t < 24; t++) {
        tokens[random.nextInt(8)]++;
      }
      points.add(point(i, layer(0, 0, tokens)));
      cv += points.get(i - 1).load().summary().cv() / 400;
    }
    assertTrue(cv > 0.4, "CV of a point: " + cv);
    List<String> sentences = LoadFindings.of(points, false);
    assertEquals(sentences.size(), 1);
    assertTrue(sentences.get(0).contains("balanced"), sentences.get(0));
  }

  @Test
  public void collapsedOntoOneExpert() {
    long[] tokens = new long[96];
    tokens[17] = 4000;
    List<String> sentences =
        LoadFindings.of(List.of(point(10, layer(0, 0, 5, 5), layer(2, 0, tokens))), false);
    assertEquals(
        sentences,
        List.of(
            "Up to step 10 something is wrong in 1 of 2 layers; the worst CV is 9.75 (layer 2).",
            "Layer 2: the load's CV is 9.75; 95 of 96 experts take less than a tenth of their share"
                + " (0, 1, 2, 3, 4, 5, 6, 7 and 87 more); expert 17 takes 96.0 times the mean.",
            HINT));
    assertFalse(LoadFindings.of(List.of(point(10, layer(2, 0, tokens))), true).contains(HINT));
  }

  /** One expert of a hundred may starve without a CV that tells. */
  @Test
  public void oneStarvedExpert() {
    long[] tokens = new long[100];
    java.util.Arrays.fill(tokens, 1000);
    int starved = random.nextInt(100);
    tokens[starved] = 99;
    assertEquals(
        LoadFindings.of(List.of(point(10, layer(0, 0, tokens))), true).get(1),
        "Layer 0: 1 of 100 experts takes less than a tenth of its share (%s).".formatted(starved));
    tokens[starved] = 101;
    assertEquals(LoadFindings.of(List.of(point(10, layer(0, 0, tokens))), true).size(), 1);
  }

  @Test
  public void overrunExperts() {
    long[] tokens = new long[20];
    java.util.Arrays.fill(tokens, 100);
    tokens[4] = 500;
    tokens[11] = 1000;
    // The mean is 165.
    assertEquals(
        LoadFindings.of(List.of(point(10, layer(5, 0, tokens))), true).get(1),
        "Layer 5: the load's CV is 1.28; 2 experts take more than 3 times the mean (11, 4), the"
            + " fullest 6.1 times.");
  }

  @Test
  public void dropping() {
    ExpertLoad.Layer some = layer(0, 5, 25, 25, 25, 25);
    ExpertLoad.Layer many = layer(1, 6, 25, 25, 25, 25);
    assertEquals(
        LoadFindings.of(List.of(point(10, some, many)), false),
        List.of(
            "Up to step 10 something is wrong in 1 of 2 layers; the worst CV is 0.00 (layer 0).",
            "Layer 1: 5.7% of the assignments are dropped."));
  }

  @Test
  public void nothingAtAll() {
    assertEquals(
        LoadFindings.of(List.of(point(10, layer(0, 100, 0, 0))), true).get(1),
        "Layer 0: no expert took a token; 100.0% of the assignments are dropped.");
  }

  @Test
  public void collapsedRouter() {
    double most = Math.log(4);
    List<LoadPoint> points =
        List.of(
            point(10, entropy(0, most / 2), entropy(1, most / 2)),
            point(20, entropy(0, 0.051 * most), entropy(1, 0.049 * most)));
    assertEquals(
        LoadFindings.of(points, true),
        List.of(
            "Over steps 11 to 20 something is wrong in 1 of 2 layers; the worst CV is 0.00 (layer 0).",
            "Layer 1: the router has collapsed: its entropy is 0.068 of at most 1.386 nats."));
  }

  @Test
  public void undecidedRouters() {
    double most = Math.log(4);
    ExpertLoad.Layer even = entropy(0, 0.99 * most);
    ExpertLoad.Layer decided = entropy(1, 0.97 * most);
    ExpertLoad.Layer other = entropy(2, most);
    assertEquals(
        LoadFindings.of(List.of(point(10, even, decided, other)), true).get(1),
        "The router hardly tells experts apart in layers 0, 2: its entropy is above 98% of an even"
            + " choice's.");
    assertEquals(
        LoadFindings.of(List.of(point(10, even, decided)), true).get(1),
        "The router hardly tells experts apart in layer 0: its entropy is above 98% of an even"
            + " choice's.");
    assertEquals(
        LoadFindings.of(List.of(point(10, even, other)), true).get(1),
        "The router hardly tells experts apart in any layer: its entropy is above 98% of an even"
            + " choice's.");
    assertEquals(LoadFindings.of(List.of(point(10, decided)), true).size(), 1);
  }

  /** One expert has no choice, and a NaN tells nothing. */
  @Test
  public void entropiesThatTellNothing() {
    ExpertLoad.Layer one =
        new ExpertLoad.Layer(0, List.of(9L), 0, Map.of(), Map.of(ExpertLoad.ROUTER_ENTROPY, 0.0));
    assertEquals(LoadFindings.of(List.of(point(10, one, entropy(1, Double.NaN))), true).size(), 1);
  }

  @Test
  public void whatBalances() {
    String type = "moe_router_load_balancing_type";
    String weight = "moe_aux_loss_coeff";
    assertFalse(LoadFindings.balances(Map.of()));
    assertFalse(LoadFindings.balances(Map.of(type, "aux_loss", weight, 0.0)));
    assertFalse(LoadFindings.balances(Map.of(type, "aux_loss", weight, 0)));
    assertFalse(LoadFindings.balances(Map.of(type, "none", weight, 1e-2)));
    assertTrue(LoadFindings.balances(Map.of(type, "aux_loss", weight, 1e-2)));
    assertTrue(LoadFindings.balances(Map.of(weight, 1e-2)));
    assertTrue(
        LoadFindings.balances(
            Map.of(type, List.of("aux_loss", "seq_aux_loss"), weight, List.of(0, 1e-3))));
    assertTrue(LoadFindings.balances(Map.of(type, "sinkhorn", weight, 0.0)));
    assertTrue(LoadFindings.balances(Map.of(type, "none", "moe_router_enable_expert_bias", true)));
    String gate = "balance_strategy";
    String share = "balance_loss_weight";
    assertFalse(LoadFindings.balances(Map.of(gate, "naive", share, 1.0)));
    assertFalse(LoadFindings.balances(Map.of(gate, "gshard", share, 0.0)));
    assertTrue(LoadFindings.balances(Map.of(gate, "gshard", share, 1.0)));
    assertTrue(LoadFindings.balances(Map.of(gate, "swipe", share, 0.0)));
    assertTrue(LoadFindings.balances(Map.of(gate, "org.example.OwnGate", share, 0.0)));
  }
}
