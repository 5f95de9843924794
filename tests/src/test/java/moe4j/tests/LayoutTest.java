package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * The same losses whatever the layout: 20 steps of a small GPT with a layer of experts and one
 * without, in fp32, from one checkpoint, by real processes over Gloo, against one process that
 * accumulates the same micro-batches. Dropout, balance loss and z-loss are on.
 */
@Test(groups = "slow")
public class LayoutTest {
  private static final double LOSS = 1e-5;
  private static final double NORM = 1e-4;

  /** Every layout on both ways of routing, and not some; some minutes more. */
  private static final boolean ALL = "all".equals(System.getProperty("moe4j.layouts"));

  /** Layouts that are tried with a capacity in any case. */
  private static final Set<String> WITH_CAPACITY =
      Set.of("tp2-sp", "ep2", "tp2-ep2-dp2", "tp2-etp1-ep4-dp4");

  /** Where the runs begin, end, and end when they have gone on in another layout. */
  private static final int FROM = 3;

  private static final int STEPS = FROM + 20;
  private static final int ONWARDS = STEPS + 3;

  private static final String ALONE = "alone";

  private static final String MODEL =
      "--num-layers 2 --hidden-size 32 --num-attention-heads 4 --seq-length 16 --qk-layernorm"
          + " --micro-batch-size 2 --global-batch-size 8 --lr 5e-3 --mock-data --vocab-size 61"
          + " --make-vocab-size-divisible-by 64 --attention-dropout 0.1 --hidden-dropout 0.1"
          + " --eval-iters 1 --log-interval 1 --init-method-std 0.1 --moe-layer-freq 2"
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
            + " --moe-shared-expert-intermediate-size 16 --moe-shared-expert-gate --swiglu");
    LAYOUTS.put(ALONE, "1");
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

  /** Layouts and more flags that are tried on some routes only. */
  private static final String[][] MORE = {
    {"dp2-zero", "padded", ""},
    {"ep4", "padded", ""},
    {"ep4", "dropless", "--moe-token-dispatcher-type allgather"},
    {"ep4", "dropless", "--moe-a2a-overlap-degree 2"},
  };

  /** Layouts that go on from others': these while the runs are made that have as many processes, */
  private static final String[][] ONTO_MORE = {
    {"ep2", "dp2-zero"},
    {"etp2", "tp2"},
    {"ep4", "dp2"},
    {"tp2-ep2-dp2", "tp2-sp"},
    {"tp2-ep2-dp4", "ep4"},
    {"tp2-etp1-ep4-dp4", "etp2"},
  };

  /** and these behind all. */
  private static final String[][] ONTO_FEWER = {
    {ALONE, "tp2-ep2-dp4"},
    {"tp2", "tp2-ep2-dp4"},
    {"tp2-sp", "ep4"},
    {"dp2", "tp2-ep2-dp2"},
    {"dp2-zero", "tp2-etp1-ep4-dp4"},
  };

  private final List<Object[]> made = new ArrayList<>();
  private String seed;
  private Workspace workspace;
  private ManyRuns runs;

  /** Makes all runs, those with fewer processes first. */
  @BeforeClass
  public void makeThem() throws IOException, InterruptedException {
    seed = " --seed " + Seeds.random(LayoutTest.class).nextInt(1 << 20);
    workspace = new Workspace();
    runs = new ManyRuns(workspace.path("runs"));
    for (String routes : ROUTES.keySet()) {
      add("start-" + routes, ALONE, routes, FROM, "", null);
      add(reference(routes), ALONE, routes, STEPS, "", "start-" + routes);
    }
    for (String layout : LAYOUTS.keySet()) {
      if (!layout.equals(ALONE)) {
        compared(layout, "dropless", "");
      }
      if (WITH_CAPACITY.contains(layout) || (ALL && !layout.equals(ALONE))) {
        compared(layout, "capacity", "");
      }
    }
    for (String[] more : MORE) {
      compared(more[0], more[1], more[2]);
    }
    goesOn(ALONE, ALONE);
    for (String[] onto : ONTO_MORE) {
      goesOn(onto[0], onto[1]);
    }
    runs.make();
    for (String[] onto : ONTO_FEWER) {
      goesOn(onto[0], onto[1]);
    }
    runs.make();
  }

  private static String reference(String routes) {
    return ALONE + "-" + routes;
  }

  private void compared(String layout, String routes, String flags) {
    String name = layout + "-" + routes + flags.replace(' ', '-');
    add(name, layout, routes, STEPS, flags, "start-" + routes);
    made.add(new Object[] {name, routes});
  }

  private void goesOn(String layout, String from) {
    add(onto(layout, from), layout, "dropless", ONWARDS, "", from + "-dropless");
  }

  private static String onto(String layout, String from) {
    return layout + "-from-" + from;
  }

  private void add(String name, String layout, String routes, int steps, String more, String from) {
    String[] words = LAYOUTS.get(layout).split(" ", 2);
    String flags =
        String.join(
            " ",
            MODEL,
            seed,
            ROUTES.get(routes),
            words.length == 1 ? "" : words[1],
            more,
            "--train-iters " + steps);
    List<String> all = new ArrayList<>(List.of(flags.trim().split(" +")));
    all.addAll(List.of("--save", runs.of(name).resolve("saved").toString()));
    if (from != null) {
      all.addAll(List.of("--load", runs.of(from).resolve("saved").toString()));
    }
    runs.add(name, Integer.parseInt(words[0]), all);
  }

  @AfterClass
  public void delete() throws IOException {
    workspace.close();
  }

  @DataProvider
  Object[][] compared() {
    return made.toArray(Object[][]::new);
  }

  @Test(dataProvider = "compared")
  public void lossesAreTheReferences(String run, String routes) throws IOException {
    RunRecord reference = RunRecord.of(runs.of(reference(routes)));
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

  @DataProvider
  Object[][] goneOn() {
    List<Object[]> all = new ArrayList<>();
    for (String[][] some : List.of(ONTO_MORE, ONTO_FEWER)) {
      for (String[] onto : some) {
        all.add(new Object[] {onto[0], onto[1]});
      }
    }
    return all.toArray(Object[][]::new);
  }

  /** A checkpoint of any layout goes on in any other: the next losses are the same. */
  @Test(dataProvider = "goneOn")
  public void anyLayoutGoesOnFromAnyOther(String layout, String from) throws IOException {
    RunRecord alone = RunRecord.of(runs.of(onto(ALONE, ALONE)));
    RunRecord record = RunRecord.of(runs.of(onto(layout, from)));
    assertEquals(record.steps().size(), ONWARDS - STEPS);
    assertEquals(record.steps(), alone.steps());
    assertClose(record, alone, "lm loss", LOSS);
    assertClose(record, alone, "grad norm", NORM);
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
