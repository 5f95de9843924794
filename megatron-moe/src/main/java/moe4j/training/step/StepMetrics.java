package moe4j.training.step;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import moe4j.parallel.Group;
import moe4j.parallel.NonFinite;
import moe4j.record.IterationRecord;
import moe4j.tensor.Scopes;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What the steps since the last log line were like, summed on the device; the host reads it at a
 * log line and nowhere else. A skipped step joins no average: what made it be skipped may be a NaN.
 */
public final class StepMetrics implements AutoCloseable {
  private final Device device;
  private final Group data;
  private final int microBatches;
  private final Tensor stepLoss;
  private final Tensor stepTokens;
  private final Tensor loss;
  private final Tensor advanced;
  private final Tensor skipped;
  private final Tensor notFinite;

  /** This rank's sum of losses in the last step that was skipped. */
  private final Tensor skippedLoss;

  private final LayerSums sideLosses;
  private final LayerSums figures;
  private final Map<Integer, Tensor> loads = new TreeMap<>();
  private final Map<Integer, Tensor> unasked = new TreeMap<>();
  private final Map<Integer, Long> routedInMicroBatch = new TreeMap<>();
  private final Map<Integer, Long> routed = new TreeMap<>();

  /** Sums on a device of one rank, all zero. */
  public StepMetrics(Device device, int microBatches) {
    this(device, microBatches, Group.alone());
  }

  /**
   * The same of several ranks that have different samples: what is read is over all of them.
   *
   * @param microBatches a step, of all ranks together
   */
  public StepMetrics(Device device, int microBatches, Group data) {
    this.device = device;
    this.data = data;
    this.microBatches = microBatches;
    this.stepLoss = scalar();
    this.stepTokens = scalar();
    this.loss = scalar();
    this.advanced = scalar();
    this.skipped = scalar();
    this.notFinite = scalar();
    this.skippedLoss = scalar();
    this.sideLosses = new LayerSums(device, data);
    this.figures = new LayerSums(device, data);
  }

  private Tensor scalar() {
    return Scopes.keep(() -> Tensors.zeros(ScalarType.Float, device));
  }

  /**
   * What the host reads.
   *
   * @param losses Megatron's keys in its order; the mean over the interval's advanced steps, of
   *     side losses also over layers and micro-batches; empty where no step advanced
   * @param lossesByLayer the side losses by key and layer, each the mean over micro-batches and the
   *     interval's advanced steps; empty where no step advanced
   * @param figures the layers' figures by name and layer, likewise
   * @param advanced steps that changed the parameters
   * @param skipped steps that did not, their gradients not being finite
   * @param notFinite steps whose loss was not finite
   * @param loads rows each expert computed, by layer, in all steps
   * @param routed rows that were asked for, by layer, in all steps; padding asks for none
   */
  public record Reading(
      Map<String, Double> losses,
      Map<String, Map<Integer, Double>> lossesByLayer,
      Map<String, Map<Integer, Double>> figures,
      int advanced,
      int skipped,
      int notFinite,
      Map<Integer, List<Long>> loads,
      Map<Integer, Long> routed) {

    /** The figures as the log line has them: the mean over the layers, by name. */
    public Map<String, Double> meanFigures() {
      return overLayers(figures);
    }
  }

  private static Map<String, Double> overLayers(Map<String, Map<Integer, Double>> byLayer) {
    Map<String, Double> means = new LinkedHashMap<>();
    byLayer.forEach(
        (name, values) ->
            means.put(
                name,
                values.values().stream().mapToDouble(Double::doubleValue).average().getAsDouble()));
    return means;
  }

  /**
   * Adds a micro-batch's sums on the device, inside its scope. As a part of a captured graph this
   * is called once, for all the graph's replays.
   */
  public void addMicroBatch(Tensor lossSum, Tensor lossTokens, Pass pass) {
    routedInMicroBatch.clear();
    stepLoss.add_(lossSum.detach());
    stepTokens.add_(lossTokens);
    sideLosses.add(pass.losses(), Pass.SideLoss::name, Pass.SideLoss::layer, Pass.SideLoss::value);
    figures.add(pass.figures(), Pass.Figure::name, Pass.Figure::layer, Pass.Figure::value);
    Map<Integer, Tensor> tokens = new TreeMap<>();
    Map<Integer, Tensor> ofPadding = new TreeMap<>();
    for (Pass.ExpertLoad load : pass.loads()) {
      tokens.merge(load.layer(), load.tokens(), (a, b) -> a.add(b));
      if (load.unasked() != null) {
        ofPadding.merge(load.layer(), load.unasked(), (a, b) -> a.add(b));
      }
      routedInMicroBatch.merge(load.layer(), load.routed(), Long::sum);
    }
    add(loads, tokens);
    add(unasked, ofPadding);
  }

  /** Adds what layers have counted to their sums, all layers' in one operation. */
  private void add(Map<Integer, Tensor> sums, Map<Integer, Tensor> counted) {
    counted.forEach(
        (layer, count) ->
            sums.computeIfAbsent(
                layer,
                l -> Scopes.keep(() -> Tensors.zeros(ScalarType.Long, device, count.shape()))));
    if (!counted.isEmpty()) {
      List<Tensor> targets = counted.keySet().stream().map(sums::get).toList();
      TensorLists.add(targets, List.copyOf(counted.values()));
    }
  }

  /** Counts on the host what each micro-batch adds, which is the same for all. */
  public void countMicroBatch() {
    routedInMicroBatch.forEach((layer, rows) -> routed.merge(layer, rows, Long::sum));
  }

  /** Closes a step, after its update. */
  public void endStep(Tensor foundInf) {
    Scopes.run(
        () -> {
          Tensor sums = torch.stack(new TensorVector(stepLoss, stepTokens));
          data.allReduce(sums, Group.Reduction.SUM).await();
          Tensor mean = sums.select(0, 0).div(sums.select(0, 1).clamp_min(new Scalar(1.0)));
          Tensor isSkipped = foundInf.gt(new Scalar(0));
          Tensor counts = foundInf.neg().add_(new Scalar(1.0));
          loss.add_(mean.masked_fill(isSkipped, new Scalar(0.0)));
          sideLosses.endStep(isSkipped);
          figures.endStep(isSkipped);
          advanced.add_(counts);
          skipped.add_(foundInf);
          notFinite.add_(mean.isfinite().logical_not().to(ScalarType.Float));
          skippedLoss.copy_(torch.where(isSkipped, stepLoss, skippedLoss));
          stepLoss.zero_();
          stepTokens.zero_();
        });
  }

  /**
   * The ranks whose own samples' loss was not finite in the last step that was skipped; all ranks
   * call it.
   */
  public List<Integer> nonFiniteLossRanks(Group world) {
    return NonFinite.ranks(world, skippedLoss);
  }

  /** A sum over ranks, too: another tensor where there are several. */
  static Tensor over(Group ranks, Tensor sum) {
    if (ranks.isAlone()) {
      return sum;
    }
    Tensor all = sum.clone();
    ranks.allReduce(all, Group.Reduction.SUM).await();
    return all;
  }

  /** Reads the sums, waiting for the device; all ranks do. */
  public Reading read() {
    try (PointerScope scope = new PointerScope()) {
      return readAll();
    }
  }

  private Reading readAll() {
    int steps = (int) Tensors.item(advanced);
    Map<String, Double> losses = new LinkedHashMap<>();
    Map<String, Map<Integer, Double>> lossesByLayer = Map.of();
    Map<String, Map<Integer, Double>> figuresByLayer = Map.of();
    if (steps > 0) {
      losses.put(IterationRecord.LM_LOSS, Tensors.item(loss) / steps);
      lossesByLayer = sideLosses.over((long) microBatches * steps);
      figuresByLayer = figures.over((long) microBatches * steps);
      losses.putAll(overLayers(lossesByLayer));
    }
    Map<Integer, List<Long>> tokens = new TreeMap<>();
    loads.forEach(
        (layer, sum) -> {
          List<Long> row = new ArrayList<>();
          for (long count : Tensors.longs(over(data, sum))) {
            row.add(count);
          }
          tokens.put(layer, row);
        });
    Map<Integer, Long> asked = new TreeMap<>();
    routed.forEach((layer, rows) -> asked.put(layer, rows * data.size()));
    unasked.forEach((layer, sum) -> asked.computeIfPresent(layer, (l, rows) -> rows - all(sum)));
    return new Reading(
        losses,
        lossesByLayer,
        figuresByLayer,
        steps,
        (int) Tensors.item(skipped),
        (int) Tensors.item(notFinite),
        tokens,
        asked);
  }

  /** A count of all ranks. */
  private long all(Tensor count) {
    return Tensors.longs(over(data, count))[0];
  }

  /** Begins a new interval. */
  public void reset() {
    Scopes.run(
        () -> {
          for (Tensor sum : List.of(loss, advanced, skipped, notFinite)) {
            sum.zero_();
          }
          sideLosses.reset();
          figures.reset();
          loads.values().forEach(Tensor::zero_);
          unasked.values().forEach(Tensor::zero_);
        });
    routed.clear();
  }

  @Override
  public void close() {
    for (Tensor sum :
        List.of(stepLoss, stepTokens, loss, advanced, skipped, notFinite, skippedLoss)) {
      sum.close();
    }
    sideLosses.close();
    figures.close();
    loads.values().forEach(Tensor::close);
    unasked.values().forEach(Tensor::close);
  }
}
