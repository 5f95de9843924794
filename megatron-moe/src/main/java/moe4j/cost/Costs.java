package moe4j.cost;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a model costs.
 *
 * @param tokens that a sample has a loss for
 * @param before what is in front of the layers
 * @param layers the parts of each layer
 * @param behind what is behind the layers
 * @param limits what of a layout is not for this kind of model
 */
public record Costs(
    int tokens,
    List<ModelPart> before,
    List<List<ModelPart>> layers,
    List<ModelPart> behind,
    Limits limits) {

  /**
   * What of a layout is not for some kinds of models.
   *
   * @param wholeMatrices why each matrix is whole on each rank; null where they can be split
   * @param carries whether something is carried from a batch to the next, so that a rank's samples
   *     of a step are one micro-batch
   */
  public record Limits(String wholeMatrices, boolean carries) {
    /** Everything is possible. */
    public static final Limits NONE = new Limits(null, false);
  }

  /** Copies the lists. */
  public Costs {
    before = List.copyOf(before);
    layers = layers.stream().map(List::copyOf).toList();
    behind = List.copyOf(behind);
  }

  /** Layers. */
  public int depth() {
    return layers.size();
  }

  /** The parts in their order, and how often there is each. */
  public Map<ModelPart, Integer> parts() {
    Map<ModelPart, Integer> times = new LinkedHashMap<>();
    List<List<ModelPart>> all = new ArrayList<>(layers);
    all.add(0, before);
    all.add(behind);
    all.forEach(layer -> layer.forEach(part -> times.merge(part, 1, Integer::sum)));
    return Collections.unmodifiableMap(times);
  }

  /** The model's parameters. */
  public Parameters parameters() {
    Parameters sum = Parameters.NONE;
    for (Map.Entry<ModelPart, Integer> part : parts().entrySet()) {
      sum = sum.plus(part.getKey().parameters(), part.getValue());
    }
    return sum;
  }

  /** Parameters that a token does not meet: of the experts, those that it does not go to. */
  public long idleParameters() {
    return parts().entrySet().stream()
        .mapToLong(part -> part.getKey().idle() * part.getValue())
        .sum();
  }

  /** Whether it has experts. */
  public boolean hasExperts() {
    return parts().keySet().stream().anyMatch(part -> !part.traffic().exchanges().isEmpty());
  }

  /**
   * Floating-point operations of forward and backward as Megatron counts them ({@code
   * num_floating_point_operations}): of matrix products, and of attention what its mask leaves;
   * embeddings, norms, gates and recomputation do not count, and dropped tokens are not taken off.
   *
   * @param samples sequences
   * @param microBatch of how many a rank computes at once
   */
  public double flops(double samples, int microBatch) {
    Placement once = Placement.counted(samples, samples / microBatch);
    double sum = 0;
    for (Map.Entry<ModelPart, Integer> part : parts().entrySet()) {
      sum += part.getValue() * part.getKey().flops(once);
    }
    return sum;
  }

  /** What has to be a multiple of what. */
  public List<Divisible> divisible() {
    return parts().keySet().stream().flatMap(part -> part.divisible().stream()).distinct().toList();
  }
}
