package moe4j.plan;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.function.ToDoubleFunction;
import org.testng.annotations.Test;

public class MemoryEstimateTest {
  private static final PlannedModel GPT2 = Plans.gpt2(Plans.GPT2, "");
  private static final PlannedModel EXPERTS = Plans.gpt2(Plans.GPT2, Plans.EXPERTS);
  private static final PlannedModel MIXTRAL = Plans.model(Plans.MIXTRAL, "--num-experts 8", 32000);

  private static MemoryEstimate memory(PlannedModel model, PlannedLayout layout) {
    return MemoryEstimate.of(model, layout, Plans.BALANCED);
  }

  /** Bytes a token and layer, counted by hand from the layers' code. */
  @Test
  public void gpt2ByHand() {
    long norm = 2 * 768 * 2 + 8;
    long attention = 4 * 768 * 2 + 12 * 4;
    long feedForward = 2 * 3072 * 2;
    long layer = 2 * norm + attention + feedForward;
    MemoryEstimate estimate = memory(GPT2, Plans.single(32));
    assertEquals(estimate.activations(), 32768.0 * (12 * layer + norm + 50304 * 2));
    assertEquals(estimate.parameters(), 2.0 * 124_475_904);
    assertEquals(estimate.gradients(), 2.0 * 124_475_904);
    assertEquals(estimate.optimizer(), 12.0 * 124_475_904);
  }

  /** Two experts' rows and what lies between, in place of a block that was as wide. */
  @Test
  public void expertsByHand() {
    double dense = memory(GPT2, Plans.single(32)).activations();
    double experts = memory(EXPERTS, Plans.single(32)).activations();
    double router = 8 * 96 + 32 * 2;
    assertEquals(experts - dense, 12 * 32768.0 * (2 * 768 * 2 + router), 1);
  }

  /** Rotated queries and copies of keys and values stay, and their projection does not. */
  @Test
  public void groupedHeads() {
    String flags = Plans.GPT2 + " --group-query-attention --num-query-groups 4";
    double plain = 2 * (768 + 2 * 256) + 2 * 2 * 768;
    double rotated = 2 * (768 + 2 * 768);
    double learned = memory(Plans.gpt2(flags, ""), Plans.single(1)).activations();
    double rope =
        memory(Plans.gpt2(flags + " --position-embedding-type rope", ""), Plans.single(1))
            .activations();
    assertEquals(learned - rope, 12 * 1024 * (plain - rotated), 1);
  }

  /** Sums of several micro-batches are fp32, beside what the last backward has left. */
  @Test
  public void gradients() {
    double n = 124_475_904;
    assertEquals(memory(GPT2, Plans.layout(1, 1, 1, 1, false, 8, 32)).gradients(), (4 + 2) * n);
    assertEquals(memory(GPT2, Plans.layout(2, 1, 1, 1, false, 8, 16)).gradients(), (4 + 2) * n);
    Choices overlap = new Choices(true, 1);
    MemoryEstimate early = MemoryEstimate.of(GPT2, Plans.layout(2, 1, 1, 1, false, 8, 16), overlap);
    assertEquals(early.gradients(), 4 * n);
    // Two buckets of 40 million bf16 gradients are on their way.
    double plain = memory(GPT2, Plans.layout(2, 1, 1, 1, false, 8, 16)).buffers();
    assertEquals(early.buffers() - plain, 2 * 40e6 * 2);
    // Tensor-parallel ranks sum what each has of a norm's gradient, in the same memory as the rest.
    PlannedLayout divided = Plans.layout(2, 2, 1, 1, false, 8, 8);
    double part = memory(GPT2, divided).parameters() / 2;
    assertEquals(memory(GPT2, divided).gradients(), (4 + 2) * part);
    PlannedModel fp32 = Plans.fp32(GPT2);
    assertEquals(memory(fp32, Plans.layout(2, 1, 1, 1, false, 8, 16)).gradients(), (4 + 4) * n);
    assertEquals(
        MemoryEstimate.of(fp32, Plans.layout(2, 1, 1, 1, false, 8, 16), overlap).gradients(),
        4 * n);
    assertEquals(memory(fp32, Plans.layout(1, 1, 1, 1, false, 8, 32)).gradients(), 4 * n);
    assertEquals(memory(fp32, Plans.single(8)).optimizer(), 8 * n);
  }

  /** 16 bits more a master; moments of 2 bytes, or of one and a scale for 256; sums in bf16. */
  @Test
  public void theOptimizersTypes() {
    double n = 124_475_904;
    PlannedLayout several = Plans.layout(2, 1, 1, 1, false, 8, 32);
    double[][] expected = {{2 + 8, 4 + 2}, {2 + 4, 2 + 2}, {4 + 2 + 8 / 256.0, 4 + 2}};
    StateBytes[] states = {
      StateBytes.of("fp32", "fp32", "fp32", null),
      StateBytes.of("bf16", "bf16", "bf16", null),
      StateBytes.of("fp32", "fp8", "fp8", "whole"),
    };
    for (int i = 0; i < states.length; i++) {
      MemoryEstimate made = MemoryEstimate.of(GPT2, several, new Choices(false, 1, states[i]));
      assertEquals(made.optimizer(), expected[i][0] * n, 1);
      assertEquals(made.gradients(), expected[i][1] * n, 1);
    }
    // A backward adds bf16 gradients up itself.
    PlannedLayout one = Plans.layout(1, 1, 1, 1, false, 8, 32);
    assertEquals(
        MemoryEstimate.of(GPT2, one, new Choices(false, 1, states[1])).gradients(), 2 * n, 1);
  }

  @Test
  public void distributedOptimizer() {
    ParameterCount count = ParameterCount.of(MIXTRAL, 1, 4, 1);
    MemoryEstimate all = memory(MIXTRAL, Plans.layout(16, 1, 4, 1, false, 1, 16));
    MemoryEstimate parts = memory(MIXTRAL, Plans.layout(16, 1, 4, 1, true, 1, 16));
    assertEquals(all.optimizer(), 12.0 * count.rank());
    assertEquals(parts.optimizer(), 12 * (count.dense() / 16.0 + count.experts() / 4.0), 1);
    assertEquals(all.total() - parts.total(), all.optimizer() - parts.optimizer(), 1);
  }

  @Test
  public void knobs() {
    ToDoubleFunction<PlannedLayout> total = layout -> memory(MIXTRAL, layout).total();
    int[] sizes = {1, 2, 4, 8};
    for (int i = 1; i < sizes.length; i++) {
      int less = sizes[i - 1];
      int more = sizes[i];
      assertLess(
          total,
          Plans.layout(64, more, 1, 1, false, 1, 64),
          Plans.layout(64, less, 1, 1, false, 1, 64));
      assertLess(
          total,
          Plans.layout(64, 1, more, 1, false, 1, 64),
          Plans.layout(64, 1, less, 1, false, 1, 64));
      assertLess(
          total,
          Plans.layout(64, 8, 1, more, false, 1, 64),
          Plans.layout(64, 8, 1, less, false, 1, 64));
      assertLess(
          total,
          Plans.layout(64, 1, 8, 1, false, less, 512),
          Plans.layout(64, 1, 8, 1, false, more, 512));
      assertLess(
          total,
          Plans.layout(64 * more, 1, 1, 1, true, 1, 512),
          Plans.layout(64 * less, 1, 1, 1, true, 1, 512));
    }
    PlannedModel dense = Plans.model(Plans.MIXTRAL, "", 32000);
    assertTrue(
        memory(dense, new PlannedLayout(8, 8, true, 1, 1, false, 1, 8)).total()
            < memory(dense, new PlannedLayout(8, 8, false, 1, 1, false, 1, 8)).total());
    assertTrue(
        memory(GPT2, Plans.single(8)).total() < memory(Plans.fp32(GPT2), Plans.single(8)).total());
    PlannedLayout spread = Plans.layout(8, 1, 8, 1, false, 1, 8);
    assertTrue(
        memory(MIXTRAL, spread).total()
            < MemoryEstimate.of(MIXTRAL, spread, new Choices(false, 1.2)).total());
  }

  private static void assertLess(
      ToDoubleFunction<PlannedLayout> of, PlannedLayout less, PlannedLayout more) {
    assertTrue(of.applyAsDouble(less) < of.applyAsDouble(more), less + " and " + more);
  }
}
