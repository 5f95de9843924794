package moe4j.cost;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a model costs: its parts, in the order in which a batch goes through them.
 *
 * @param tokens how many tokens of a sample have a loss
 * @param before the parts before the layers, such as the embedding
 * @param layers the parts of each layer
 * @param behind the parts after the layers, such as the output layer
 * @param limits which layouts this kind of model does not have
 */
public record Costs(
    int tokens,
    List<ModelPart> before,
    List<List<ModelPart>> layers,
    List<ModelPart> behind,
    Limits limits) {

  /**
   * Which layouts a kind of model does not have.
   *
   * @param wholeMatrices why tensor parallelism is not possible: the end of a sentence that begins
   *     with its flag; null if it is possible
   * @param carries whether something is carried from each step to the next for every sample, so
   *     that all of a rank's samples must be one micro-batch
   */
  public record Limits(String wholeMatrices, boolean carries) {
    /** All layouts are possible. */
    public static final Limits NONE = new Limits(null, false);
  }

  /** Copies the lists. */
  public Costs {
    before = List.copyOf(before);
    layers = layers.stream().map(List::copyOf).toList();
    behind = List.copyOf(behind);
  }

  /** The number of layers. */
  public int depth() {
    return layers.size();
  }

  /** The different parts, in their order, and how often the model has each. */
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

  /** Parameters that a token does not meet: those of the experts that it does not go to. */
  public long idleParameters() {
    return parts().entrySet().stream()
        .mapToLong(part -> part.getKey().idle() * part.getValue())
        .sum();
  }

  /** Whether the model has experts, that is a part with {@link ModelPart.Traffic#exchanges}. */
  public boolean hasExperts() {
    return parts().keySet().stream().anyMatch(part -> !part.traffic().exchanges().isEmpty());
  }

  /**
   * Floating-point operations of forward and backward as Megatron counts them ({@code
   * num_floating_point_operations}): of matrix products, and of attention what its mask leaves;
   * embeddings, norms, gates and recomputation do not count, and dropped tokens are not taken off.
   *
   * @param samples how many sequences
   * @param microBatch how many of them a rank computes at once: some parts compute something once
   *     for a micro-batch
   * @return FLOPs of all ranks together
   */
  public double flops(double samples, int microBatch) {
    Placement once = Placement.counted(samples, samples / microBatch);
    double sum = 0;
    for (Map.Entry<ModelPart, Integer> part : parts().entrySet()) {
      sum += part.getValue() * part.getKey().flops(once);
    }
    return sum;
  }

  /** The sizes that have to be multiples of numbers of ranks, each once. */
  public List<Divisible> divisible() {
    return parts().keySet().stream().flatMap(part -> part.divisible().stream()).distinct().toList();
  }
}
