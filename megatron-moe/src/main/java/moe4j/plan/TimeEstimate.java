package moe4j.plan;

import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Seconds of a step: {@code M (work + tensor + exchange) + exposed + optimizer} for M
 * micro-batches. The fullest expert rank holds up all others.
 *
 * @param work of all micro-batches
 * @param tensor tensor-parallel collectives; the computation waits for all of them
 * @param exchange the experts' all-to-alls and, where an expert is split, its rows' gathers
 * @param reduction gradients' reduction and the distributed optimizer's gather, all of it
 * @param exposed the part of the reduction that no computation hides
 * @param optimizer the update, the gradients' norm and their zeroing
 * @param flops FLOPs of the model's step, as Megatron counts them
 */
public record TimeEstimate(
    StepWork work,
    double tensor,
    double exchange,
    double reduction,
    double exposed,
    double optimizer,
    double flops) {

  /** The estimate of a layout without a {@link PlannedLayout#refusal}. */
  public static TimeEstimate of(
      PlannedModel model, PlannedLayout layout, Choices choices, Cluster cluster) {
    int m = layout.microBatches();
    StepWork once = StepWork.of(model, layout, choices, cluster.gpu());
    StepWork work = once.times(m);
    CollectiveTime traffic = new CollectiveTime(model, layout, choices, cluster);
    double tensor = traffic.tensor();
    double exchange = traffic.exchange();
    double pass = once.seconds() + tensor + exchange;
    // A backward is two of a micro-batch's three thirds; the last one alone hides the reduction.
    double reduce = traffic.reduce();
    double gather = traffic.gather();
    double exposed =
        traffic.exposed(reduce, choices.reducesInBackward(layout) ? pass * 2 / 3 : 0)
            + traffic.exposed(gather, 0);
    return new TimeEstimate(
        work,
        m * tensor + traffic.wholeParameters(),
        m * exchange,
        reduce + gather,
        exposed,
        optimizer(model, layout, choices, cluster.gpu()),
        model.costs().flops(layout.globalBatch(), layout.microBatch()));
  }

  /**
   * The update at the memory's bandwidth: master and moments read and written (24 bytes in fp32),
   * the bf16 parameter written, or read as well where it is a part of its master, gradients read
   * twice, for the norm, and once (2 each, or 4 where they are sums in fp32), and set to zero where
   * ranks' are summed, or a backward adds micro-batches up. The products that make experts'
   * gradients in bf16 leave their squares' sums, so that on one rank the norm does not read them.
   */
  private static double optimizer(
      PlannedModel model, PlannedLayout layout, Choices choices, Gpu gpu) {
    ParameterCount count = ParameterCount.of(model, layout.tp(), layout.ep(), layout.etp());
    boolean sums = choices.sums(model, layout);
    StateBytes state = choices.state();
    boolean zeroes = layout.worldSize() > 1 || (layout.microBatches() > 1 && !sums);
    double gradient = !model.bf16() ? 4 : sums ? state.gradient() : 2;
    boolean whole = state.master() == 4;
    double masters = !model.bf16() ? 2 * 4 : 2 * state.master() + (whole ? 2 : 2 * 2);
    double each = masters + 2 * state.moments() + 2 * gradient;
    // Not of gradients to which a backward itself has added.
    boolean known = model.bf16() && layout.worldSize() == 1 && (sums || layout.microBatches() == 1);
    boolean sharded = layout.distributedOptimizer();
    double updated =
        each * count.dense() / (sharded ? layout.dp() : 1.0)
            + (known ? each - gradient : each) * count.experts() / (sharded ? layout.edp() : 1.0);
    double zeroed = zeroes ? gradient * count.rank() : 0;
    return (updated + zeroed) / (Calibration.UPDATE * gpu.bandwidth());
  }

  /** Seconds of the whole step. */
  public double seconds() {
    return work.seconds() + tensor + exchange + exposed + optimizer;
  }

  /** Model FLOPs utilisation of the whole cluster, in percent. */
  public double utilisation(PlannedModel model, Cluster cluster) {
    double rate = flops / seconds() / cluster.worldSize();
    return 100 * rate / cluster.gpu().peak(model.bf16());
  }

  /** The part of the step that is the longest, in words. */
  public String bound() {
    Map<String, Double> parts = new LinkedHashMap<>();
    parts.put("products", work.products() + work.grouped() + work.attention());
    parts.put("memory", work.memory());
    parts.put("launches", work.gaps());
    parts.put("tensor parallel", tensor);
    parts.put("expert exchange", exchange);
    parts.put("gradients", exposed);
    parts.put("optimizer", optimizer);
    return parts.entrySet().stream()
        .max(Comparator.comparingDouble(Map.Entry::getValue))
        .orElseThrow()
        .getKey();
  }
}
