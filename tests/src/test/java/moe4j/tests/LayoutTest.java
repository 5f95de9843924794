package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * The same losses whatever the layout: 20 steps of a small GPT with experts in fp32, from one
 * checkpoint, by real processes over Gloo, against one process that accumulates the same
 * micro-batches. Dropout, balance loss and z-loss are on.
 */
public class LayoutTest {
  private static final double LOSS = 1e-5;
  private static final double NORM = 1e-4;
  private static final int STEPS = 20;
  private static final int FROM = 3;

  private static final String MODEL =
      "--num-layers 2 --hidden-size 32 --num-attention-heads 4 --seq-length 16 --qk-layernorm"
          + " --micro-batch-size 2 --lr 5e-3 --mock-data --vocab-size 61"
          + " --make-vocab-size-divisible-by 64 --attention-dropout 0.1 --hidden-dropout 0.1"
          + " --eval-iters 1 --log-interval 1 --init-method-std 0.1"
          + " --num-experts 8 --moe-ffn-hidden-size 16 --moe-aux-loss-coeff 0.05"
          + " --moe-z-loss-coeff 0.01";

  /** Ways of routing, each with a reference of its own. */
  private static final Map<String, String> ROUTES = new LinkedHashMap<>();

  /** Layouts: how many processes, and the flags. */
  private static final Map<String, String> LAYOUTS = new LinkedHashMap<>();

  static {
    ROUTES.put("dropless", "");
    ROUTES.put("capacity", "--moe-expert-capacity-factor 1.0");
    ROUTES.put(
        "padded",
        "--moe-expert-capacity-factor 1.0 --moe-pad-expert-input-to-capacity"
            + " --moe-shared-expert-intermediate-size 16 --moe-shared-expert-gate --swiglu"
            + " --moe-ffn-hidden-size 16");
    LAYOUTS.put("tp2", "2 --tensor-model-parallel-size 2");
    LAYOUTS.put("tp2-sp", "2 --tensor-model-parallel-size 2 --sequence-parallel");
    LAYOUTS.put("dp2", "2");
    LAYOUTS.put("dp2-zero", "2 --use-distributed-optimizer --overlap-grad-reduce");
    LAYOUTS.put("ep2", "2 --expert-model-parallel-size 2");
    LAYOUTS.put("etp2", "2 --expert-tensor-parallel-size 2");
    LAYOUTS.put(
        "ep4", "4 --expert-model-parallel-size 4 --overlap-grad-reduce --ddp-bucket-size 3000");
    LAYOUTS.put(
        "tp2-ep2-dp2",
        "4 --tensor-model-parallel-size 2 --sequence-parallel --expert-model-parallel-size 2"
            + " --use-distributed-optimizer");
    LAYOUTS.put(
        "tp2-ep2-dp4",
        "8 --tensor-model-parallel-size 2 --sequence-parallel --expert-model-parallel-size 2"
            + " --use-distributed-optimizer --overlap-grad-reduce");
    LAYOUTS.put(
        "tp2-etp1-ep4-dp4",
        "8 --tensor-model-parallel-size 2 --expert-tensor-parallel-size 1"
            + " --expert-model-parallel-size 4");
  }

  /** Ways of getting tokens to their experts, with the layout and the routes they are tried on. */
  private static final String[][] DISPATCHERS = {
    {"allgather", "ep4", "dropless", "--moe-token-dispatcher-type allgather"},
    {"allgather", "tp2-ep2-dp2", "capacity", "--moe-token-dispatcher-type allgather"},
    {"parts", "ep4", "dropless", "--moe-a2a-overlap-degree 2"},
    {"parts", "tp2-ep2-dp2", "padded", "--moe-a2a-overlap-degree 2"},
  };

  private Workspace workspace;
  private ManyRuns runs;

  @BeforeClass
  public void makeThem() throws IOException, InterruptedException {
    Random random = Seeds.random(LayoutTest.class);
    workspace = new Workspace();
    runs = new ManyRuns(workspace.path("runs"));
    String seed = " --seed " + random.nextInt(1 << 20);
    // The checkpoints that all start from, each made by another layout.
    for (String routes : ROUTES.keySet()) {
      add("start-" + routes, 1, routes, seed + " --global-batch-size 8", FROM, null);
    }
    runs.make();
    for (String routes : ROUTES.keySet()) {
      add("reference-" + routes, 1, routes, seed + " --global-batch-size 8", STEPS, "start-");
    }
    runs.make();
    for (Map.Entry<String, String> layout : LAYOUTS.entrySet()) {
      for (String routes : ROUTES.keySet()) {
        addLayout(layout.getKey() + "-" + routes, layout.getKey(), routes, seed, "", "start-");
      }
    }
    for (String[] way : DISPATCHERS) {
      addLayout(name(way), way[1], way[2], seed, " " + way[3], "start-");
    }
    runs.make();
    // What one layout has saved goes on in another.
    List<String> layouts = new ArrayList<>(LAYOUTS.keySet());
    for (int i = 0; i < layouts.size(); i++) {
      String from = layouts.get(i) + "-";
      String to = layouts.get((i + 3) % layouts.size());
      addLayout("onto-" + to + "-from-" + from, to, "dropless", seed, " --train-iters 23", from);
    }
    add(
        "on-reference",
        1,
        "dropless",
        seed + " --global-batch-size 8 --train-iters 23",
        STEPS,
        "tp2-ep2-dp4-");
    add(
        "on-alone",
        1,
        "dropless",
        seed + " --global-batch-size 8 --train-iters 23",
        STEPS,
        "reference-");
    runs.make();
  }

  private static String name(String... way) {
    return way[0] + "-" + way[1] + "-" + way[2];
  }

  private void addLayout(
      String name, String layout, String routes, String seed, String more, String from) {
    String[] words = LAYOUTS.get(layout).split(" ", 2);
    String flags = words.length == 1 ? "" : " " + words[1];
    add(
        name,
        Integer.parseInt(words[0]),
        routes,
        seed + " --global-batch-size 8" + flags + more,
        STEPS,
        from);
  }

  private void add(String name, int processes, String routes, String more, int steps, String from) {
    String flags = MODEL + " --train-iters " + steps + " " + ROUTES.get(routes) + " " + more;
    List<String> words = new ArrayList<>(List.of(flags.trim().split(" +")));
    words.addAll(List.of("--save", runs.of(name).resolve("saved").toString()));
    if (from != null) {
      words.addAll(List.of("--load", runs.of(from + routes).resolve("saved").toString()));
    }
    runs.add(name, processes, words);
  }

  @AfterClass
  public void delete() throws IOException {
    workspace.close();
  }

  @DataProvider
  Object[][] layouts() {
    List<Object[]> all = new ArrayList<>();
    for (String layout : LAYOUTS.keySet()) {
      for (String routes : ROUTES.keySet()) {
        all.add(new Object[] {layout + "-" + routes, routes});
      }
    }
    for (String[] way : DISPATCHERS) {
      all.add(new Object[] {name(way), way[2]});
    }
    return all.toArray(Object[][]::new);
  }

  @Test(dataProvider = "layouts", groups = "slow")
  public void lossesAreTheReferences(String run, String routes) throws IOException {
    RunRecord reference = RunRecord.of(runs.of("reference-" + routes));
    RunRecord record = RunRecord.of(runs.of(run));
    assertEquals(record.steps().size(), STEPS - FROM);
    assertClose(record, reference, "lm loss", LOSS);
    assertClose(record, reference, "grad norm", NORM);
    assertClose(record, reference, "load_balancing_loss", LOSS);
    assertClose(record, reference, "z_loss", LOSS);
    assertEquals(
        record.lines("expert_load").get(0).get("layers").findValues("tokens").toString(),
        reference.lines("expert_load").get(0).get("layers").findValues("tokens").toString());
  }

  /** A checkpoint of any layout goes on in any other: the next losses are the same. */
  @Test(groups = "slow")
  public void anyLayoutGoesOnFromAnyOther() throws IOException {
    RunRecord alone = RunRecord.of(runs.of("on-alone"));
    assertClose(RunRecord.of(runs.of("on-reference")), alone, "lm loss", LOSS);
    List<String> layouts = new ArrayList<>(LAYOUTS.keySet());
    for (int i = 0; i < layouts.size(); i++) {
      String to = layouts.get((i + 3) % layouts.size());
      RunRecord record = RunRecord.of(runs.of("onto-" + to + "-from-" + layouts.get(i) + "-"));
      assertEquals(record.steps(), alone.steps());
      assertClose(record, alone, "lm loss", LOSS);
      assertClose(record, alone, "grad norm", NORM);
    }
  }

  private static void assertClose(RunRecord record, RunRecord reference, String key, double bound) {
    double[] actual = record.numbers(key);
    double[] expected = reference.numbers(key);
    assertEquals(actual.length, expected.length, key);
    for (int i = 0; i < actual.length; i++) {
      double relative = Math.abs(actual[i] - expected[i]) / expected[i];
      assertTrue(
          relative <= bound,
          "%s of step %d: %s, not %s: %.1e".formatted(key, i, actual[i], expected[i], relative));
    }
  }
}
