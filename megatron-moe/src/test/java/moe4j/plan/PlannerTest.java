package moe4j.plan;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class PlannerTest {
  private static final PlannedModel MIXTRAL = Plans.model(Plans.MIXTRAL, "--num-experts 8", 32000);
  private static final Choices CHOICES = new Choices(true, 1.1);

  private static Planner.Space space(int batch, Integer... microBatches) {
    return new Planner.Space(batch, List.of(microBatches), true, null, null, null);
  }

  private static Planner.Plan plan(PlannedModel model, int world, Planner.Space space) {
    return new Planner(model, Cluster.of(Gpu.named("h200"), world), CHOICES).plan(space);
  }

  @DataProvider
  public Object[][] impossible() {
    String odd =
        "--num-layers 2 --hidden-size 60 --num-attention-heads 6 --seq-length 15"
            + " --ffn-hidden-size 90";
    PlannedModel dense = Plans.model(odd, "", 90);
    PlannedModel experts =
        Plans.model(odd, "--num-experts 6 --moe-ffn-hidden-size 24 --moe-layer-freq 2", 96);
    return new Object[][] {
      {
        dense,
        layout(3, 2, true, 1, 1, 1, 6),
        "--world-size 3 is no multiple of --tensor-model-parallel-size 2"
      },
      {
        dense,
        layout(4, 4, false, 1, 1, 1, 6),
        "--num-attention-heads 6 is no multiple of --tensor-model-parallel-size 4"
      },
      {
        MIXTRAL,
        layout(16, 16, true, 1, 1, 1, 16),
        "--num-query-groups 8 is no multiple of --tensor-model-parallel-size 16"
      },
      {
        dense,
        layout(2, 2, true, 1, 1, 1, 6),
        "--seq-length 15 is no multiple of --tensor-model-parallel-size 2"
      },
      {
        Plans.model(odd, "", 91),
        layout(2, 2, false, 1, 1, 1, 6),
        "the padded vocabulary of 91 is no multiple of --tensor-model-parallel-size 2 (see --make-vocab-size-divisible-by)"
      },
      {
        dense,
        layout(3, 1, false, 1, 1, 4, 18),
        "--global-batch-size 18 is no multiple of --micro-batch-size 4 times 3 data parallel ranks"
      },
      {
        experts,
        layout(4, 1, false, 4, 1, 1, 4),
        "--num-experts 6 is no multiple of --expert-model-parallel-size 4"
      },
      {
        experts,
        layout(4, 1, false, 3, 1, 1, 4),
        "--world-size 4 is no multiple of --expert-model-parallel-size 3 times --expert-tensor-parallel-size 1"
      },
      {
        experts,
        layout(5, 1, false, 1, 5, 1, 5),
        "--moe-ffn-hidden-size 24 is no multiple of --expert-tensor-parallel-size 5"
      },
      {
        experts,
        layout(2, 1, false, 1, 2, 1, 4),
        "--moe-ffn-hidden-size 24 over --expert-tensor-parallel-size 2 is 12, grouped products need multiples of 8"
      },
    };
  }

  private static PlannedLayout layout(
      int world, int tp, boolean sequence, int ep, int etp, int microBatch, int batch) {
    return new PlannedLayout(world, tp, sequence, ep, etp, false, microBatch, batch);
  }

  @Test(dataProvider = "impossible")
  public void saysWhy(PlannedModel model, PlannedLayout layout, String sentence) {
    assertEquals(layout.refusal(model).orElseThrow().sentence(), sentence);
  }

  @Test
  public void ranksWhatFits() {
    Planner.Plan plan = plan(MIXTRAL, 64, space(256, 1, 2, 4));
    // TP of 7 sizes, EP of 7, ETP of 1 and TP, three micro-batches, with and without the optimizer
    // distributed where there is somebody to share it with.
    int tried = 7 * (1 + 2 * 6) * 3 * 2 - 7 * 2 * 3;
    assertEquals(plan.fitting().size() + plan.tooLarge().size() + plan.impossible(), tried);
    double usable = Cluster.of(Gpu.named("h200"), 64).usable();
    Set<PlannedLayout> seen = new HashSet<>();
    double before = 0;
    for (Planner.Candidate candidate : plan.fitting()) {
      assertTrue(seen.add(candidate.layout()));
      assertFalse(candidate.layout().refusal(MIXTRAL).isPresent());
      assertTrue(candidate.memory().total() <= usable);
      assertTrue(candidate.time().seconds() >= before);
      before = candidate.time().seconds();
      PlannedLayout layout = candidate.layout();
      assertEquals(layout.edp() * layout.ep() * layout.etp(), 64);
      assertEquals(layout.microBatches() * layout.microBatch() * layout.dp(), 256);
      double utilisation = candidate.time().utilisation(MIXTRAL, Cluster.of(Gpu.named("h200"), 64));
      assertTrue(utilisation > 0 && utilisation < 60, layout + ": " + utilisation);
    }
    plan.tooLarge().forEach(c -> assertTrue(c.memory().total() > usable));
    assertTrue(plan.commonest().layouts() <= plan.impossible());
  }

  /** 46.7 billion parameters of 16 bytes are 700 GiB: no GPU has them alone, eight have. */
  @Test
  public void eightForMixtral() {
    Planner.Plan one = plan(MIXTRAL, 1, space(8, 1));
    assertEquals(one.fitting(), List.of());
    assertEquals(one.tooLarge().size(), 1);
    assertNull(one.commonest());
    assertFalse(plan(MIXTRAL, 8, space(8, 1)).fitting().isEmpty());
  }

  @Test
  public void onlyWhatIsAskedFor() {
    Planner.Space asked = new Planner.Space(64, List.of(1), true, 2, 4, 1);
    Planner.Plan plan = plan(MIXTRAL, 16, asked);
    assertEquals(plan.fitting().size() + plan.tooLarge().size(), 2);
    assertEquals(plan.fitting().get(0).layout().tp(), 2);
    Planner.Space odd = new Planner.Space(64, List.of(1), true, 3, null, null);
    assertEquals(
        plan(MIXTRAL, 16, odd).commonest().sentence(),
        "--world-size 16 is no multiple of --tensor-model-parallel-size 3");
  }

  /** More of the same is faster, and a slower link is slower. */
  @Test
  public void faster() {
    double eight = best(8, 40e9);
    double sixteen = best(16, 40e9);
    assertTrue(sixteen < eight && sixteen > eight / 2.5, eight + " and " + sixteen);
    assertTrue(best(16, 10e9) > sixteen);
  }

  private static double best(int world, double interNode) {
    Gpu gpu = Gpu.named("h200");
    Cluster cluster = new Cluster(gpu, world, 8, gpu.intraNode(), interNode, 5e-6);
    Planner.Plan plan = new Planner(MIXTRAL, cluster, CHOICES).plan(space(256, 1, 2));
    return plan.fitting().get(0).time().seconds();
  }

  @Test
  public void flags() {
    PlannedLayout layout = Plans.layout(64, 4, 8, 1, true, 2, 256);
    assertEquals(
        String.join(" ", layout.flags(true, true)),
        "--tensor-model-parallel-size 4 --sequence-parallel --expert-model-parallel-size 8"
            + " --expert-tensor-parallel-size 1 --use-distributed-optimizer --overlap-grad-reduce"
            + " --micro-batch-size 2 --global-batch-size 256");
    assertEquals(
        String.join(" ", Plans.single(32).flags(false, true)),
        "--micro-batch-size 32 --global-batch-size 32");
  }

  @Test
  public void badClusters() {
    Gpu gpu = Gpu.named("h200");
    assertEquals(
        sentence(() -> new Cluster(gpu, 12, 8, 1e9, 1e9, 0)),
        "--world-size 12 is no multiple of --gpus-per-node 8: the nodes are taken to be equal");
    assertEquals(
        sentence(() -> new Cluster(gpu, 0, 8, 1e9, 1e9, 0)), "--world-size 0 is not positive");
    assertEquals(
        sentence(() -> new Cluster(gpu, 8, 8, 1e9, 0, 0)), "--inter-node-gbs 0.0 is not positive");
    assertEquals(
        sentence(() -> new Cluster(gpu.withMemory(0), 8, 8, 1e9, 1e9, 0)),
        "--gpu-memory-gib 0.0 is not positive");
    assertEquals(
        sentence(() -> Gpu.named("h300")), "--gpu takes h200, h100, a100, b200, not 'h300'");
    assertEquals(
        sentence(() -> new Choices(false, 0.9)),
        "--load-imbalance 0.9: the fullest rank has the mean at least");
    assertEquals(sentence(() -> space(8, 0)), "--micro-batch-size 0 is not positive");
  }

  private static String sentence(org.testng.Assert.ThrowingRunnable body) {
    return expectThrows(IllegalArgumentException.class, body).getMessage();
  }
}
