package moe4j.record;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * What the experts of each MoE layer did over a log interval: how many (token, expert) assignments
 * each took, and what their gate left beside.
 *
 * @param layers the MoE layers in order
 */
public record ExpertLoad(List<Layer> layers) {

  /** The figure that says how undecided a router is: nats, from 0 to the logarithm of E. */
  public static final String ROUTER_ENTROPY = "router entropy";

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
   * @param losses the layer's losses beside the main one, by Megatron's keys, unweighted
   * @param figures what else its gate measures, such as {@link #ROUTER_ENTROPY}, by name
   */
  public record Layer(
      int layer,
      List<Long> tokens,
      long dropped,
      Map<String, Double> losses,
      Map<String, Double> figures) {

    /** Copies, in order, and checks. */
    public Layer {
      tokens = List.copyOf(tokens);
      losses = Collections.unmodifiableMap(new LinkedHashMap<>(losses));
      figures = Collections.unmodifiableMap(new LinkedHashMap<>(figures));
      if (tokens.isEmpty() || dropped < 0 || tokens.stream().anyMatch(count -> count < 0)) {
        throw new IllegalArgumentException(
            "expert load of layer %s: %s, dropped %s".formatted(layer, tokens, dropped));
      }
    }

    /** A load beside which nothing is known. */
    public Layer(int layer, List<Long> tokens, long dropped) {
      this(layer, tokens, dropped, Map.of(), Map.of());
    }

    /** Assignments that were computed. */
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

  /**
   * Several intervals as one: what was counted is added up, what was measured is averaged where it
   * is finite.
   *
   * @param loads of the same layers and experts, at least one
   */
  static ExpertLoad together(List<ExpertLoad> loads) {
    List<Layer> layers = new ArrayList<>();
    for (int l = 0; l < loads.get(0).layers().size(); l++) {
      int index = l;
      List<Layer> parts = loads.stream().map(load -> load.layers().get(index)).toList();
      long[] tokens = new long[parts.get(0).tokens().size()];
      for (Layer part : parts) {
        for (int e = 0; e < tokens.length; e++) {
          tokens[e] += part.tokens().get(e);
        }
      }
      layers.add(
          new Layer(
              parts.get(0).layer(),
              Arrays.stream(tokens).boxed().toList(),
              parts.stream().mapToLong(Layer::dropped).sum(),
              means(parts.stream().map(Layer::losses).toList()),
              means(parts.stream().map(Layer::figures).toList())));
    }
    return new ExpertLoad(layers);
  }

  private static Map<String, Double> means(List<Map<String, Double>> parts) {
    return parts.stream()
        .flatMap(part -> part.entrySet().stream())
        .filter(entry -> Double.isFinite(entry.getValue()))
        .collect(
            Collectors.groupingBy(
                Map.Entry::getKey,
                LinkedHashMap::new,
                Collectors.averagingDouble(Map.Entry::getValue)));
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
