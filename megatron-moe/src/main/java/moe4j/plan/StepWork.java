package moe4j.plan;

import moe4j.cost.AttentionCore;
import moe4j.cost.ModelPart;
import moe4j.cost.Placement;
import moe4j.cost.Product;

/**
 * What one rank computes for a micro-batch, forward and backward: seconds by kind, and FLOPs. If
 * the experts' load is even and nothing is padded, the FLOPs of the ranks that share a micro-batch
 * add up to {@link moe4j.cost.Costs#flops}.
 *
 * @param products seconds of dense matrix products
 * @param grouped seconds of the experts' products
 * @param attention seconds of attention between its projections
 * @param memory seconds of kernels that the memory's bandwidth bounds, and of gates
 * @param gaps seconds between kernels
 * @param flops FLOPs of products and attention
 */
public record StepWork(
    double products, double grouped, double attention, double memory, double gaps, double flops) {

  /** The work of a layout that the model can have: one without a {@link PlannedLayout#refusal}. */
  public static StepWork of(PlannedModel model, PlannedLayout layout, Choices choices, Gpu gpu) {
    return new Sum(model, layout, choices, gpu).work();
  }

  /** Seconds of all kinds together. */
  public double seconds() {
    return products + grouped + attention + memory + gaps;
  }

  /** The work of several micro-batches. */
  StepWork times(int times) {
    return new StepWork(
        times * products,
        times * grouped,
        times * attention,
        times * memory,
        times * gaps,
        times * flops);
  }

  private static final class Sum {
    private final PlannedModel model;
    private final PlannedLayout layout;
    private final Choices choices;
    private final Placement placement;
    private final double peak;
    private final double bandwidth;

    Sum(PlannedModel model, PlannedLayout layout, Choices choices, Gpu gpu) {
      this.model = model;
      this.layout = layout;
      this.choices = choices;
      this.placement = layout.placement(choices);
      this.peak = gpu.peak(model.bf16());
      this.bandwidth = Calibration.BANDWIDTH * gpu.bandwidth();
    }

    StepWork work() {
      double products = products(Product.Kind.DENSE) + products(Product.Kind.OUTPUT);
      double grouped = products(Product.Kind.GROUPED) + weights() / bandwidth;
      double moved =
          model.sum(part -> part.work().moved(), amount -> amount.on(placement, model.bytes()));
      double memory = (moved + accumulation()) / bandwidth + products(Product.Kind.GATE);
      return new StepWork(
          products,
          grouped,
          model.sum(part -> part.work().attention(), this::attention),
          memory,
          model.costs().depth() * Calibration.GAPS,
          model.sum((ModelPart part) -> part.flops(placement)));
    }

    private double products(Product.Kind kind) {
      return model.sum(
          part -> part.work().products(),
          product ->
              product.kind() == kind
                  ? product.flops(placement) / (Calibration.product(product, placement) * peak)
                  : 0);
    }

    /**
     * Bytes of the experts' weights, which are read twice, and of their gradients, written once.
     */
    private double weights() {
      return 3 * model.bytes() * model.sum(part -> part.work().products(), this::expertWeight);
    }

    private double expertWeight(Product product) {
      return product.kind() == Product.Kind.GROUPED
          ? (double) product.rows().routing().experts()
              / placement.expert()
              * product.in().on(placement)
              * product.out().on(placement)
          : 0;
    }

    private double attention(AttentionCore core) {
      double passed = 0;
      for (var weights : core.weights()) {
        passed += Calibration.DROPOUT_PASSES * weights.on(placement, model.bytes());
      }
      return core.flops(placement) / (Calibration.attention(core) * peak) + passed / bandwidth;
    }

    /**
     * Bytes of a micro-batch's gradients, read, and of their sums, read and written. Where experts'
     * products add to the sums themselves, nothing is read, nor written as {@link #weights} counts.
     */
    private double accumulation() {
      if (!choices.sums(model, layout)) {
        return 0;
      }
      ParameterCount count = ParameterCount.of(model, layout.tp(), layout.ep(), layout.etp());
      double inPlace = choices.addsInPlace(model, layout) ? count.experts() : 0;
      return (model.bytes() + 2 * choices.state().gradient()) * count.rank()
          - 2.0 * model.bytes() * inPlace;
    }
  }
}
