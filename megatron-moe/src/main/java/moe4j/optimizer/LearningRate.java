package moe4j.optimizer;

/**
 * Megatron's learning-rate schedules, in samples: a linear warm-up over {@code w} samples, then a
 * decay until {@code D}, with {@code r = (n - w) / (D - w)}, then the lowest rate.
 *
 * <p>linear {@code 1 - r}; cosine {@code (1 + cos(pi r)) / 2}; inverse-square-root {@code sqrt(w /
 * n)}; WSD 1 until its last part, then exponential {@code 2 * 0.5^r - 1}, linear, cosine or
 * minus_sqrt {@code 1 - sqrt(r)} over that part.
 */
public final class LearningRate {
  private final OptimizerConfig config;

  /** The warm-up's length; a share of the decay is not rounded, as in Megatron. */
  private final double warmup;

  private final long decay;
  private final long wsdDecay;

  /**
   * A schedule.
   *
   * @param batch samples a step
   * @param trainIters steps of the run, or null where the run is counted in samples
   * @param trainSamples samples of the run, or null where it is counted in steps
   * @throws IllegalArgumentException if flags count in another unit than the run, the warm-up is no
   *     shorter than the decay, or WSD's last part begins before the warm-up's end
   */
  public LearningRate(OptimizerConfig config, int batch, Integer trainIters, Long trainSamples) {
    this.config = config;
    String mixed = trainIters != null ? config.sampleFlag() : config.iterationFlag();
    if (mixed != null) {
      throw new IllegalArgumentException(
          "%s counts in %s and %s in %s: one unit is asked for"
              .formatted(
                  trainIters != null ? "--train-iters" : "--train-samples",
                  trainIters != null ? "iterations" : "samples",
                  mixed,
                  trainIters != null ? "samples" : "iterations"));
    }
    if (trainIters != null) {
      this.decay =
          (config.lrDecayIters() != null ? config.lrDecayIters() : trainIters) * (long) batch;
      this.warmup = warmup((long) config.lrWarmupIters() * batch);
      this.wsdDecay =
          config.lrWsdDecayIters() == null ? 0 : (long) config.lrWsdDecayIters() * batch;
    } else {
      this.decay = config.lrDecaySamples() != null ? config.lrDecaySamples() : trainSamples;
      this.warmup = warmup(config.lrWarmupSamples());
      this.wsdDecay = config.lrWsdDecaySamples() == null ? 0 : config.lrWsdDecaySamples();
    }
    boolean iterations = trainIters != null;
    double unit = iterations ? batch : 1;
    String decays =
        "the %.0f %s of the learning rate's schedule (%s)"
            .formatted(
                decay / unit,
                iterations ? "iterations" : "samples",
                iterations
                    ? config.lrDecayIters() != null ? "--lr-decay-iters" : "--train-iters"
                    : config.lrDecaySamples() != null ? "--lr-decay-samples" : "--train-samples");
    if (warmup > 0 && warmup >= decay) {
      throw new IllegalArgumentException(
          "%s %.0f: the warm-up leaves nothing of %s"
              .formatted(
                  iterations ? "--lr-warmup-iters" : "--lr-warmup-samples", warmup / unit, decays));
    }
    if (config.lrDecayStyle().equals("WSD") && wsdDecay > decay - warmup) {
      throw new IllegalArgumentException(
          "%s %.0f: the decay at the end would begin before the warm-up's end, of %s and a warm-up of %.0f"
              .formatted(
                  iterations ? "--lr-wsd-decay-iters" : "--lr-wsd-decay-samples",
                  wsdDecay / unit,
                  decays,
                  warmup / unit));
    }
  }

  private double warmup(long given) {
    return config.lrWarmupFraction() == null ? given : config.lrWarmupFraction() * decay;
  }

  /** The rate after so many samples. */
  public double at(long samples) {
    double max = config.lr();
    if (warmup > 0 && samples <= warmup) {
      return config.lrWarmupInit() + (max - config.lrWarmupInit()) * samples / warmup;
    }
    if (config.lrDecayStyle().equals("constant")) {
      return max;
    }
    double min = config.minLr();
    if (samples > decay) {
      return min;
    }
    if (config.lrDecayStyle().equals("inverse-square-root")) {
      double rate = max * Math.sqrt(Math.max(warmup, 1)) / Math.sqrt((double) Math.max(samples, 1));
      return Math.max(min, rate);
    }
    double r = decay == warmup ? 1 : (samples - warmup) / (decay - warmup);
    return min + (max - min) * share(config.lrDecayStyle(), r, samples);
  }

  private double share(String style, double r, long samples) {
    return switch (style) {
      case "linear" -> 1 - r;
      case "cosine" -> 0.5 * (Math.cos(Math.PI * r) + 1);
      case "exponential" -> 2 * Math.pow(0.5, r) - 1;
      case "minus_sqrt" -> 1 - Math.sqrt(r);
      case "WSD" -> {
        long start = decay - wsdDecay;
        yield samples <= start
            ? 1
            : share(config.lrWsdDecayStyle(), (double) (samples - start) / wsdDecay, samples);
      }
      default -> throw new IllegalStateException(style);
    };
  }
}
