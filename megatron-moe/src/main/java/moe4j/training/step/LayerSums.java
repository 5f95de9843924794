package moe4j.training.step;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.function.ToIntFunction;
import moe4j.parallel.Group;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Scalars that layers leave beside the loss, summed on the device: for each name an fp32 vector
 * with a slot a layer, so that a micro-batch takes two operations a name however many layers there
 * are. Which layers leave a name is learnt at its first micro-batch.
 */
final class LayerSums implements AutoCloseable {
  private final Device device;
  private final Group data;
  private final Map<String, Sum> sums = new LinkedHashMap<>();

  /** Over all micro-batches: of the step, and of the interval's steps. */
  private record Sum(List<Integer> layers, Tensor step, Tensor interval) {}

  /**
   * @param data the ranks over which the sums are, too
   */
  LayerSums(Device device, Group data) {
    this.device = device;
    this.data = data;
  }

  /**
   * Adds what a micro-batch left. What a layer left twice under one name is added up.
   *
   * @throws IllegalStateException if a name came from other layers than before
   */
  <L> void add(
      List<L> left, Function<L, String> name, ToIntFunction<L> layer, Function<L, Tensor> value) {
    Map<String, SortedMap<Integer, Tensor>> byName = new LinkedHashMap<>();
    for (L one : left) {
      byName
          .computeIfAbsent(name.apply(one), n -> new TreeMap<>())
          .merge(layer.applyAsInt(one), value.apply(one).detach(), (a, b) -> a.add(b));
    }
    byName.forEach(this::add);
  }

  private void add(String name, SortedMap<Integer, Tensor> byLayer) {
    List<Integer> layers = List.copyOf(byLayer.keySet());
    Sum sum = sums.computeIfAbsent(name, n -> new Sum(layers, zeros(layers), zeros(layers)));
    if (!sum.layers().equals(layers)) {
      throw new IllegalStateException(
          ("layers %s left a '%s' in the first micro-batch, layers %s in this one: a layer leaves it"
                  + " in each or in none")
              .formatted(sum.layers(), name, layers));
    }
    sum.step().add_(torch.stack(Tensors.vector(List.copyOf(byLayer.values()))));
  }

  private Tensor zeros(List<Integer> layers) {
    return Scopes.keep(() -> Tensors.zeros(ScalarType.Float, device, layers.size()));
  }

  /**
   * Closes a step.
   *
   * @param skipped a truth value on the device: whether the step joins no average
   */
  void endStep(Tensor skipped) {
    for (Sum sum : sums.values()) {
      sum.interval().add_(sum.step().masked_fill(skipped, new Scalar(0.0)));
      sum.step().zero_();
    }
  }

  /**
   * The interval's sums over a count, by name and layer; waits for the device. All ranks call it.
   *
   * @param count of all ranks together
   */
  Map<String, Map<Integer, Double>> over(long count) {
    Map<String, Map<Integer, Double>> means = new LinkedHashMap<>();
    sums.forEach(
        (name, sum) -> {
          float[] values = Tensors.floats(StepMetrics.over(data, sum.interval()));
          Map<Integer, Double> byLayer = new TreeMap<>();
          for (int i = 0; i < values.length; i++) {
            byLayer.put(sum.layers().get(i), values[i] / (double) count);
          }
          means.put(name, byLayer);
        });
    return means;
  }

  /** Begins a new interval. */
  void reset() {
    sums.values().forEach(sum -> sum.interval().zero_());
  }

  @Override
  public void close() {
    for (Sum sum : sums.values()) {
      sum.step().close();
      sum.interval().close();
    }
  }
}
