package moe4j.training;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import moe4j.kernels.Scopes;
import moe4j.kernels.Tensors;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What the steps since the last log line were like, summed on the device; the host reads it at a
 * log line and nowhere else. A skipped step joins no average: what made it be skipped may be a NaN.
 */
public final class StepMetrics implements AutoCloseable {
  private final Device device;
  private final int microBatches;
  private final Tensor stepLoss;
  private final Tensor stepTokens;
  private final Tensor loss;
  private final Tensor advanced;
  private final Tensor skipped;
  private final Tensor notFinite;
  private final Map<String, Sum> sideLosses = new LinkedHashMap<>();
  private final Map<Integer, Tensor> loads = new TreeMap<>();
  private long routedInMicroBatch;
  private long routed;

  /** Sums on a device, all zero. */
  public StepMetrics(Device device, int microBatches) {
    this.device = device;
    this.microBatches = microBatches;
    this.stepLoss = scalar();
    this.stepTokens = scalar();
    this.loss = scalar();
    this.advanced = scalar();
    this.skipped = scalar();
    this.notFinite = scalar();
  }

  /** A side loss over all layers and micro-batches: of the step, and of the interval's steps. */
  private record Sum(Tensor step, Tensor interval, Set<Integer> layers) {}

  private Tensor scalar() {
    return Scopes.keep(() -> Tensors.zeros(ScalarType.Float, device));
  }

  /**
   * What the host reads.
   *
   * @param losses Megatron's keys in its order; the mean over the interval's advanced steps, of
   *     side losses also over layers and micro-batches; empty where no step advanced
   * @param advanced steps that changed the parameters
   * @param skipped steps that did not, their gradients not being finite
   * @param notFinite steps whose loss was not finite
   * @param loads rows each expert computed, by layer, in all steps
   * @param routed rows that were asked for, of all layers together, in all steps
   */
  public record Reading(
      Map<String, Double> losses,
      int advanced,
      int skipped,
      int notFinite,
      Map<Integer, List<Long>> loads,
      long routed) {}

  /**
   * Adds a micro-batch's sums on the device, inside its scope. As a part of a captured graph this
   * is called once, for all the graph's replays.
   */
  public void addMicroBatch(Tensor lossSum, Tensor lossTokens, Pass pass) {
    routedInMicroBatch = 0;
    stepLoss.add_(lossSum.detach());
    stepTokens.add_(lossTokens);
    for (Pass.SideLoss side : pass.losses()) {
      Sum sum =
          sideLosses.computeIfAbsent(
              side.name(), n -> new Sum(scalar(), scalar(), new TreeSet<>()));
      sum.step().add_(side.value().detach());
      sum.layers().add(side.layer());
    }
    for (Pass.ExpertLoad load : pass.loads()) {
      loads
          .computeIfAbsent(
              load.layer(),
              l -> Scopes.keep(() -> Tensors.zeros(ScalarType.Long, device, load.tokens().numel())))
          .add_(load.tokens());
      routedInMicroBatch += load.routed();
    }
  }

  /** Counts on the host what each micro-batch adds, which is the same for all. */
  public void countMicroBatch() {
    routed += routedInMicroBatch;
  }

  /** Closes a step, after its update. */
  public void endStep(Tensor foundInf) {
    Scopes.run(
        () -> {
          Tensor mean = stepLoss.div(stepTokens.clamp_min(new Scalar(1.0)));
          Tensor counts = foundInf.neg().add_(new Scalar(1.0));
          loss.add_(unlessSkipped(mean, foundInf));
          for (Sum side : sideLosses.values()) {
            side.interval().add_(unlessSkipped(side.step(), foundInf));
            side.step().zero_();
          }
          advanced.add_(counts);
          skipped.add_(foundInf);
          notFinite.add_(mean.isfinite().logical_not().to(ScalarType.Float));
          stepLoss.zero_();
          stepTokens.zero_();
        });
  }

  private static Tensor unlessSkipped(Tensor value, Tensor foundInf) {
    return torch.where(foundInf.gt(new Scalar(0)), torch.zeros_like(value), value);
  }

  /** Reads the sums, waiting for the device. */
  public Reading read() {
    int steps = (int) Tensors.item(advanced);
    Map<String, Double> losses = new LinkedHashMap<>();
    if (steps > 0) {
      losses.put("lm loss", Tensors.item(loss) / steps);
      sideLosses.forEach(
          (name, sum) ->
              losses.put(
                  name, Tensors.item(sum.interval()) / sum.layers().size() / microBatches / steps));
    }
    Map<Integer, List<Long>> tokens = new TreeMap<>();
    loads.forEach(
        (layer, sum) -> {
          List<Long> row = new ArrayList<>();
          for (long count : Tensors.longs(sum)) {
            row.add(count);
          }
          tokens.put(layer, row);
        });
    return new Reading(
        losses, steps, (int) Tensors.item(skipped), (int) Tensors.item(notFinite), tokens, routed);
  }

  /** Begins a new interval. */
  public void reset() {
    Scopes.run(
        () -> {
          for (Tensor sum : List.of(loss, advanced, skipped, notFinite)) {
            sum.zero_();
          }
          sideLosses.values().forEach(side -> side.interval().zero_());
          loads.values().forEach(Tensor::zero_);
        });
    routed = 0;
  }

  @Override
  public void close() {
    for (Tensor sum : List.of(stepLoss, stepTokens, loss, advanced, skipped, notFinite)) {
      sum.close();
    }
    for (Sum side : sideLosses.values()) {
      side.step().close();
      side.interval().close();
    }
    loads.values().forEach(Tensor::close);
  }
}
