package moe4j.plan;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.List;
import java.util.stream.IntStream;
import moe4j.parallel.Layout;
import org.testng.annotations.Test;

/** Bytes and seconds that were worked out by hand. */
public class CollectiveTimeTest {
  private static final PlannedModel MIXTRAL = Plans.model(Plans.MIXTRAL, "--num-experts 8", 32000);
  private static final PlannedModel DENSE = Plans.model(Plans.MIXTRAL, "", 32000);

  /** 16 GPUs in two nodes, 400 and 40 GB/s, 5 us. */
  private static final Cluster TWO_NODES = new Cluster(Gpu.named("h200"), 16, 8, 400e9, 40e9, 5e-6);

  @Test
  public void collectives() {
    RankSpan node = new RankSpan(8, 1);
    assertEquals(TWO_NODES.gather(node, 800e6), 7 * (5e-6 + 250e-6), 1e-12);
    assertEquals(TWO_NODES.reduce(node, 800e6), 14 * (5e-6 + 250e-6), 1e-12);
    // Eight adapters of 40 GB/s carry a ring through both nodes, one a ring of two ranks.
    assertEquals(TWO_NODES.gather(new RankSpan(16, 1), 800e6), 15 * (5e-6 + 156.25e-6), 1e-12);
    assertEquals(TWO_NODES.gather(new RankSpan(2, 8), 800e6), 5e-6 + 10e-3, 1e-12);
    assertEquals(TWO_NODES.exchange(node, 800e6), 35e-6 + 1.75e-3, 1e-12);
    // 0.8 of 1.6 GB are for the other node; what is for the own one is there by then.
    assertEquals(TWO_NODES.exchange(new RankSpan(16, 1), 1.6e9), 75e-6 + 20e-3, 1e-12);
    assertEquals(TWO_NODES.gather(new RankSpan(1, 1), 1e9), 0.0);
  }

  @Test
  public void groupsSpanNodesByTheirStride() {
    PlannedLayout layout = Plans.layout(32, 2, 4, 1, false, 1, 32);
    assertEquals(layout.tensorGroup(), new RankSpan(2, 1));
    assertEquals(layout.dataGroup(), new RankSpan(16, 2));
    assertEquals(layout.expertGroup(), new RankSpan(4, 1));
    assertEquals(layout.expertDataGroup(), new RankSpan(8, 4));
    assertEquals(layout.dataGroup().inNode(8), 4);
    assertEquals(layout.expertDataGroup().inNode(8), 2);
    assertTrue(!layout.expertGroup().spansNodes(8) && layout.expertDataGroup().spansNodes(8));
    assertTrue(Plans.layout(32, 2, 8, 2, false, 1, 32).expertGroup().spansNodes(8));
  }

  /** A plan's groups are those that a run with its flags makes, with its first rank. */
  @Test
  public void groupsAreTheRunsOwn() {
    for (int[] sizes : new int[][] {{2, 4, 1}, {2, 8, 2}, {1, 4, 2}, {4, 1, 4}, {1, 1, 1}}) {
      PlannedLayout plan = Plans.layout(32, sizes[0], sizes[1], sizes[2], false, 1, 32);
      Layout run = new Layout(32, sizes[0], sizes[1], sizes[2]);
      assertEquals(ranks(plan.tensorGroup()), run.tensorRanks(0));
      assertEquals(ranks(plan.dataGroup()), run.dataRanks(0));
      assertEquals(ranks(plan.expertGroup()), run.expertRanks(0));
      assertEquals(ranks(plan.expertTensorGroup()), run.expertTensorRanks(0));
      assertEquals(ranks(plan.expertBlock()), run.expertBlockRanks(0));
      assertEquals(ranks(plan.expertDataGroup()), run.expertDataRanks(0));
    }
  }

  private static List<Integer> ranks(RankSpan span) {
    return IntStream.range(0, span.size()).map(i -> i * span.stride()).boxed().toList();
  }

  @Test
  public void tensorParallel() {
    // T h e = 4096 x 4096 x 2; half of it moves, five times a block, 32 blocks of attention.
    double half = 16_777_216e-9;
    // And two fp32 numbers of each token from the other rank.
    double loss = 8 * 4096e-9;
    CollectiveTime experts = traffic(MIXTRAL, Plans.layout(8, 2, 4, 1, false, 1, 8));
    assertEquals(experts.tensor(), (5 * 32 + 5) * half + loss, 1e-9);
    CollectiveTime dense = traffic(DENSE, Plans.layout(8, 2, 1, 1, false, 1, 8));
    assertEquals(dense.tensor(), (5 * 64 + 5) * half + loss, 1e-9);
    // Without sequence parallelism: all-reduces, each as much as two gathers.
    PlannedLayout replicated = new PlannedLayout(8, 2, false, 1, 1, false, 1, 8);
    assertEquals(traffic(DENSE, replicated).tensor(), (2 * 64 + 2) * 2 * half + loss, 1e-9);
    // Each rank gives the experts a part of the tokens: outputs and gradients are gathered.
    PlannedLayout parts = new PlannedLayout(8, 2, false, 4, 1, false, 1, 8);
    double united = (2 * 32 + 2) * 2 * half + 2 * 32 * half;
    assertEquals(traffic(MIXTRAL, parts).tensor(), united + loss, 1e-9);
    // An all-reduce over two ranks passes on as many bytes as there are, here of fp32 gradients.
    PlannedLayout sliced = Plans.layout(8, 2, 1, 1, false, 1, 8);
    double whole = 4.0 * ParameterCount.of(DENSE, 2, 1, 1).whole();
    assertEquals(traffic(DENSE, sliced).wholeParameters(), whole / 1e9, 1e-12);
    assertEquals(traffic(DENSE, replicated).wholeParameters(), 0.0);
    assertEquals(traffic(DENSE, Plans.layout(8, 1, 1, 1, false, 1, 8)).tensor(), 0.0);
  }

  @Test
  public void exchange() {
    // k T h e (EP - 1) / EP = 2 x 4096 x 4096 x 2 x 7 / 8, four times a layer.
    CollectiveTime one = traffic(MIXTRAL, Plans.layout(8, 1, 8, 1, false, 1, 8));
    assertEquals(one.exchange(), 4 * 32 * 58_720_256e-9, 1e-9);
    // Sequence parallelism leaves each of two ranks half the tokens, and ETP gathers their rows.
    CollectiveTime split = traffic(MIXTRAL, Plans.layout(8, 2, 4, 2, false, 1, 8));
    double sent = 33_554_432e-9 * 3 / 4;
    double gathered = 33_554_432e-9;
    assertEquals(split.exchange(), 4 * 32 * (sent + gathered), 1e-9);
    Choices uneven = new Choices(false, 1.5);
    PlannedLayout layout = Plans.layout(8, 1, 8, 1, false, 1, 8);
    assertEquals(
        new CollectiveTime(MIXTRAL, layout, uneven, Plans.gigabytes(8)).exchange(),
        1.5 * one.exchange(),
        1e-9);
    assertEquals(traffic(DENSE, Plans.layout(8, 1, 1, 1, false, 1, 8)).exchange(), 0.0);
  }

  @Test
  public void tokensOfAllRanksAreGathered() {
    // 7 x T h e from the other ranks, four times a layer, whatever the load.
    PlannedModel model =
        Plans.model(Plans.MIXTRAL, "--num-experts 8 --moe-token-dispatcher-type allgather", 32000);
    PlannedLayout layout = Plans.layout(8, 1, 8, 1, false, 1, 8);
    double gathered = 4 * 32 * 7 * 33_554_432e-9;
    assertEquals(traffic(model, layout).exchange(), gathered, 1e-9);
    Choices uneven = new Choices(false, 1.5);
    assertEquals(
        new CollectiveTime(model, layout, uneven, Plans.gigabytes(8)).exchange(), gathered, 1e-9);
    // Two ranks that share an expert are among those that gather, each with half the tokens.
    CollectiveTime split = traffic(model, Plans.layout(8, 2, 4, 2, false, 1, 8));
    assertEquals(split.exchange(), gathered / 2, 1e-9);
  }

  @Test
  public void gradients() {
    // 1.605 billion that all eight ranks have, eight experts' 45.1 billion one each.
    ParameterCount count = ParameterCount.of(MIXTRAL, 1, 8, 1);
    CollectiveTime plain = traffic(MIXTRAL, Plans.layout(8, 1, 8, 1, false, 1, 8));
    assertEquals(plain.reduce(), 2 * 7 / 8.0 * 4 * count.dense() / 1e9, 1e-6);
    assertEquals(plain.gather(), 0.0);
    CollectiveTime sharded = traffic(MIXTRAL, Plans.layout(8, 1, 4, 1, true, 1, 8));
    ParameterCount twoEach = ParameterCount.of(MIXTRAL, 1, 4, 1);
    double moved = 7 / 8.0 * twoEach.dense() + 1 / 2.0 * twoEach.experts();
    assertEquals(sharded.reduce(), 4 * moved / 1e9, 1e-6);
    assertEquals(sharded.gather(), 2 * moved / 1e9, 1e-6);
  }

  /** Bytes a parameter: 24 of state, 2 of it, its gradient twice; fp32 sums are zeroed as well. */
  @Test
  public void update() {
    PlannedModel model = Plans.gpt2(Plans.GPT2, "");
    double bandwidth = 0.827 * 4.8e12 / 124_475_904;
    PlannedLayout two = Plans.layout(2, 1, 1, 1, false, 8, 16);
    assertEquals(
        TimeEstimate.of(model, Plans.single(8), Plans.BALANCED, Plans.gigabytes(8)).optimizer(),
        (24 + 2 + 2 * 2) / bandwidth,
        1e-12);
    assertEquals(
        TimeEstimate.of(model, two, Plans.BALANCED, Plans.gigabytes(8)).optimizer(),
        (24 + 2 + 2 * 4 + 4) / bandwidth,
        1e-12);
  }

  /** The norm does not read experts' gradients on one rank, whose products sum their squares. */
  @Test
  public void updateOfExperts() {
    PlannedModel model = Plans.gpt2(Plans.GPT2, Plans.EXPERTS);
    ParameterCount count = ParameterCount.of(model, 1, 1, 1);
    assertEquals(
        TimeEstimate.of(model, Plans.single(8), Plans.BALANCED, Plans.gigabytes(8)).optimizer(),
        (30 * count.dense() + 28 * count.experts()) / (0.827 * 4.8e12),
        1e-12);
    // A backward that adds micro-batches up in bf16 leaves no sums; the update zeroes what it
    // reads.
    Choices own = new Choices(false, 1, StateBytes.of("bf16", "fp32", "fp32", "whole"));
    PlannedLayout four = Plans.layout(1, 1, 1, 1, false, 8, 32);
    assertEquals(
        TimeEstimate.of(model, four, own, Plans.gigabytes(8)).optimizer(),
        (32.0 * count.dense() + 32.0 * count.experts()) / (0.827 * 4.8e12),
        1e-12);
  }

  @Test
  public void overlapHidesAllButTheLastBucket() {
    PlannedLayout layout = Plans.layout(8, 1, 1, 1, false, 1, 8);
    Choices overlap = new Choices(true, 1);
    CollectiveTime traffic = new CollectiveTime(DENSE, layout, overlap, Plans.gigabytes(8));
    double buckets = Math.ceil(ParameterCount.of(DENSE, 1, 1, 1).rank() / 40e6);
    assertEquals(traffic.exposed(3, 0), 3.0);
    assertEquals(traffic.exposed(3, 1), 2.0);
    assertEquals(traffic.exposed(3, 100), 3 / buckets, 1e-12);
    TimeEstimate hidden = TimeEstimate.of(DENSE, layout, overlap, Plans.gigabytes(8));
    TimeEstimate open = TimeEstimate.of(DENSE, layout, Plans.BALANCED, Plans.gigabytes(8));
    assertEquals(open.exposed(), open.reduction(), 1e-12);
    // Two thirds of the only micro-batch are its backward.
    double beside = hidden.work().seconds() * 2 / 3;
    assertEquals(hidden.exposed(), hidden.reduction() - beside, 1e-9);
  }

  private static CollectiveTime traffic(PlannedModel model, PlannedLayout layout) {
    return new CollectiveTime(model, layout, Plans.BALANCED, Plans.gigabytes(8));
  }
}
