package moe4j.plan;

import moe4j.model.gpt.GptConfig;

/**
 * What one rank computes for a micro-batch, forward and backward: seconds by kind, and the FLOPs
 * they are of. Products count 6 FLOPs a parameter and row, attention's halved for the mask, so that
 * one rank's sum is {@link moe4j.model.gpt.FlopCount}'s.
 *
 * @param products seconds of dense matrix products
 * @param grouped seconds of the experts' products
 * @param attention seconds of attention between its projections
 * @param memory seconds of kernels that the memory's bandwidth bounds
 * @param gaps seconds between kernels
 * @param flops of products and attention
 */
public record StepWork(
    double products, double grouped, double attention, double memory, double gaps, double flops) {

  /** The work of a layout that nothing {@link PlannedLayout#refusal refuses}. */
  public static StepWork of(ModelShape model, PlannedLayout layout, Choices choices, Gpu gpu) {
    return new Sum(model, layout, choices, gpu).work();
  }

  /** Seconds of all of it. */
  public double seconds() {
    return products + grouped + attention + memory + gaps;
  }

  private static final class Sum {
    private final ModelShape model;
    private final GptConfig config;
    private final PlannedLayout layout;
    private final double peak;
    private final double bandwidth;
    private final double tokens;
    private final double local;
    private final double own;
    private final double rows;
    private final double h;
    private final double tp;
    private final double e;
    private double flops;

    Sum(ModelShape model, PlannedLayout layout, Choices choices, Gpu gpu) {
      this.model = model;
      this.config = model.config();
      this.layout = layout;
      this.peak = gpu.peak(model.bf16());
      this.bandwidth = Calibration.BANDWIDTH * gpu.bandwidth();
      this.tokens = (double) layout.microBatch() * config.seqLength();
      this.local = layout.localTokens(model);
      this.own = layout.routedTokens(model);
      this.rows = new ActivationMemory(model, layout, choices).rows();
      this.h = config.hiddenSize();
      this.tp = layout.tp();
      this.e = model.bytes();
    }

    StepWork work() {
      double products = dense();
      double grouped = model.moeLayers() == 0 ? 0 : experts();
      double attention = config.numLayers() * attention();
      double memory = bytes() / bandwidth + model.moeLayers() * router();
      return new StepWork(
          products, grouped, attention, memory, config.numLayers() * Calibration.GAPS, flops);
    }

    private double product(double rows, double in, double out, double share, int times) {
      double work = 6 * rows * in * out;
      flops += times * work;
      return times * work / (share * peak);
    }

    private double product(double in, double out, int times) {
      return product(tokens, in, out, Calibration.product(in, out), times);
    }

    private double dense() {
      double q = config.queryChannels() / tp;
      double keys = config.keyChannels() / tp;
      double out = model.vocabulary() / tp;
      return product(h, q + 2 * keys, config.numLayers())
          + product(q, h, config.numLayers())
          + feedForward(config.ffnHiddenSize(), model.denseLayers())
          + feedForward(model.sharedHidden(), model.moeLayers())
          + product(tokens, h, out, Calibration.output(h, out), 1);
    }

    private double feedForward(double hidden, int times) {
      double f = hidden / tp;
      return f == 0 || times == 0
          ? 0
          : product(h, model.activationInputs() * f, times) + product(f, h, times);
    }

    /** Of all layers; the weights are read twice and their gradients written once. */
    private double experts() {
      double f = (double) model.expertHidden() / layout.etp();
      double inner = model.activationInputs() * f;
      double weights = (double) model.experts() / layout.ep() * h * (inner + f) * e;
      int layers = model.moeLayers();
      return product(rows, h, inner, Calibration.grouped(h, inner), layers)
          + product(rows, f, h, Calibration.grouped(f, h), layers)
          + layers * 3 * weights / bandwidth;
    }

    private double attention() {
      double work = 6 * tokens * config.seqLength() * config.queryChannels() / tp;
      flops += config.numLayers() * work;
      double share = Calibration.attention(config.kvChannels(), config.seqLength());
      double dropped =
          config.attentionDropout() == 0
              ? 0
              : Calibration.DROPOUT_PASSES
                  * 4
                  * tokens
                  * config.seqLength()
                  * config.numAttentionHeads()
                  / tp;
      return work / (share * peak) + dropped / bandwidth;
    }

    /** A layer's router: its products, and some dozen passes over scores in fp32. */
    private double router() {
      double scores = own * model.experts();
      return 6 * scores * h / (Calibration.ROUTER * peak) + 12 * 4 * scores / bandwidth;
    }

    /** What the memory-bound kernels read and write. */
    private double bytes() {
      double q = config.queryChannels() / tp;
      double c = config.keyChannels() / tp;
      // Residual and delta to sum and norm, and the way back: eight times the stream, each norm.
      double norms = (2 * config.numLayers() + 1) * 8 * local * h;
      double heads = 2 * (q + 2 * c);
      heads += config.qkLayernorm() ? 8 * (q + c) : 0;
      heads += model.rotates() ? 20 * (q + c) : 0;
      heads += model.groupsHeads() ? 4 * (q + c) : 0;
      double i = model.activationInputs();
      // The activation's input to its output, and its gradient's and input to its input's.
      double between = 3 * i + 2;
      double channels =
          model.denseLayers() * (config.ffnHiddenSize() / tp)
              + model.moeLayers() * (model.sharedHidden() / tp);
      double elements =
          norms
              + config.numLayers() * tokens * heads
              + tokens * between * channels
              + 8 * local * h
              + 2 * tokens * model.vocabulary() / tp;
      if (model.moeLayers() > 0) {
        double f = (double) model.expertHidden() / layout.etp();
        double routed = own * model.topk();
        boolean moves = layout.ep() * layout.etp() > 1;
        elements +=
            model.moeLayers()
                * (rows * between * f + 4 * (routed + own) * h + (moves ? 4 * rows * h : 0));
      }
      return elements * e + accumulation();
    }

    /** A micro-batch's gradients read, their fp32 sums read and written. */
    private double accumulation() {
      ParameterCount count = ParameterCount.of(model, layout.tp(), layout.ep(), layout.etp());
      return Choices.sums(model, layout) ? (e + 8) * count.rank() : 0;
    }
  }
}
