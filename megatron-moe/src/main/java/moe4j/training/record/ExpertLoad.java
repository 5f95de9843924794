package moe4j.training.record;

import java.util.List;

/**
 * How many (token, expert) assignments each expert of each MoE layer took over a log interval.
 *
 * @param layers the MoE layers in order
 */
public record ExpertLoad(List<Layer> layers) {

  /** Copies, and checks that there is a layer at all. */
  public ExpertLoad {
    layers = List.copyOf(layers);
    if (layers.isEmpty()) {
      throw new IllegalArgumentException("expert load of no layer");
    }
  }

  /**
   * One layer's load.
   *
   * @param layer number in the model, from 0
   * @param tokens assignments each expert computed
   * @param dropped assignments that no expert computed because of the capacity
   */
  public record Layer(int layer, List<Long> tokens, long dropped) {

    /** Copies and checks. */
    public Layer {
      tokens = List.copyOf(tokens);
      if (tokens.isEmpty() || dropped < 0 || tokens.stream().anyMatch(count -> count < 0)) {
        throw new IllegalArgumentException(
            "expert load of layer %s: %s, dropped %s".formatted(layer, tokens, dropped));
      }
    }

    private long sum() {
      return tokens.stream().mapToLong(Long::longValue).sum();
    }

    /** An expert's load over the mean of all: 1 when balanced. */
    public double relative(int expert) {
      long sum = sum();
      return sum == 0 ? 0 : tokens.get(expert) * (double) tokens.size() / sum;
    }

    /** The fullest expert's load over the mean: 1 when balanced, {@code E} when all go to one. */
    public double maxOverMean() {
      double max = 0;
      for (int e = 0; e < tokens.size(); e++) {
        max = Math.max(max, relative(e));
      }
      return max;
    }

    /**
     * Coefficient of variation over the experts (standard deviation over mean): 0 when balanced.
     */
    public double cv() {
      double variance = 0;
      for (int e = 0; e < tokens.size(); e++) {
        variance += (relative(e) - 1) * (relative(e) - 1) / tokens.size();
      }
      return sum() == 0 ? 0 : Math.sqrt(variance);
    }

    /** Dropped assignments over all. */
    public double droppedShare() {
      long all = sum() + dropped;
      return all == 0 ? 0 : dropped / (double) all;
    }
  }

  /** A load in three figures, each the mean over the MoE layers. */
  public record Summary(double maxOverMean, double cv, double droppedShare) {}

  /** The three figures of the log line. */
  public Summary summary() {
    return new Summary(
        layers.stream().mapToDouble(Layer::maxOverMean).average().getAsDouble(),
        layers.stream().mapToDouble(Layer::cv).average().getAsDouble(),
        layers.stream().mapToDouble(Layer::droppedShare).average().getAsDouble());
  }
}
