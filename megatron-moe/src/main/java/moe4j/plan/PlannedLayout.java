package moe4j.plan;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;
import java.util.stream.Stream;
import moe4j.cost.Divisible;
import moe4j.cost.Divisible.By;
import moe4j.cost.Placement;

/**
 * How a model is laid out over ranks. {@code rank = tp + TP dp}; for the experts {@code rank = etp
 * + ETP (ep + EP edp)}: Megatron's order, tp-ep-dp.
 *
 * @param worldSize ranks
 * @param tp tensor parallel size, TP
 * @param sequenceParallel whether what lies between tensor-parallel blocks is split by tokens
 * @param ep expert parallel size, EP
 * @param etp tensor parallel size of each expert, ETP
 * @param distributedOptimizer whether masters and moments are split over the data parallel ranks
 * @param microBatch sequences of a rank and micro-batch
 * @param globalBatch sequences of a step
 */
public record PlannedLayout(
    int worldSize,
    int tp,
    boolean sequenceParallel,
    int ep,
    int etp,
    boolean distributedOptimizer,
    int microBatch,
    int globalBatch) {

  /**
   * Why a model cannot have a layout.
   *
   * @param kind what layouts that are refused for the same reason have in common
   * @param sentence what is wrong with this layout
   */
  public record Refusal(String kind, String sentence) {}

  /** Data parallel size: world / TP. */
  public int dp() {
    return worldSize / tp;
  }

  /** Expert data parallel size: world / (EP ETP). */
  public int edp() {
    return worldSize / (ep * etp);
  }

  /** Micro-batches of a step: global batch / (micro-batch DP). */
  public int microBatches() {
    return (int) (globalBatch / ((long) microBatch * dp()));
  }

  /** A rank's part of a micro-batch. */
  Placement placement(Choices choices) {
    return placement(choices.imbalance());
  }

  private Placement placement(double imbalance) {
    return new Placement(microBatch, 1, tp, sequenceParallel, ep, etp, imbalance);
  }

  /** Consecutive ranks that share each matrix. */
  public RankSpan tensorGroup() {
    return new RankSpan(tp, 1);
  }

  /** Ranks with the same part of the dense model. */
  public RankSpan dataGroup() {
    return new RankSpan(dp(), tp);
  }

  /** Ranks that together have all experts, or the same part of each. */
  public RankSpan expertGroup() {
    return new RankSpan(ep, etp);
  }

  /** Consecutive ranks that have a copy of all experts together. */
  public RankSpan expertBlock() {
    return new RankSpan(ep * etp, 1);
  }

  /** Consecutive ranks that share each expert. */
  public RankSpan expertTensorGroup() {
    return new RankSpan(etp, 1);
  }

  /** Ranks with the same part of the same experts. */
  public RankSpan expertDataGroup() {
    return new RankSpan(edp(), etp * ep);
  }

  /** Why the model cannot have this layout; empty where it can. */
  public Optional<Refusal> refusal(PlannedModel model) {
    return Stream.<Supplier<Optional<Refusal>>>of(
            () -> refusedWorld(tp, "world-size", By.TENSOR.flag() + " " + tp),
            () -> refusedSplit(model),
            () -> refused(model, By.TENSOR),
            () -> refused(model, By.VOCABULARY),
            () -> refused(model, By.SEQUENCE),
            () -> refused(model, By.EXPERT),
            () ->
                refusedWorld(
                    ep * etp,
                    "expert ranks",
                    "%s %d times %s %d"
                        .formatted(By.EXPERT.flag(), ep, By.EXPERT_TENSOR.flag(), etp)),
            () -> refused(model, By.EXPERT_TENSOR),
            () -> misaligned(model),
            () -> refused(model, By.ROUTING),
            this::refusedBatch,
            () -> refusedAccumulation(model))
        .map(Supplier::get)
        .flatMap(Optional::stream)
        .findFirst();
  }

  private Optional<Refusal> refusedWorld(int ranks, String kind, String words) {
    return worldSize % ranks == 0
        ? Optional.empty()
        : Optional.of(
            new Refusal(kind, "--world-size %d is no multiple of %s".formatted(worldSize, words)));
  }

  /** Matrices of a model whose family does not split them. */
  private Optional<Refusal> refusedSplit(PlannedModel model) {
    String whole = model.costs().limits().wholeMatrices();
    return whole == null || tp == 1
        ? Optional.empty()
        : Optional.of(new Refusal("whole", "%s %d: %s".formatted(By.TENSOR.flag(), tp, whole)));
  }

  /** Several micro-batches of a model that carries something from one batch to the next. */
  private Optional<Refusal> refusedAccumulation(PlannedModel model) {
    return !model.costs().limits().carries() || microBatches() == 1
        ? Optional.empty()
        : Optional.of(
            new Refusal(
                "carries",
                "--micro-batch-size %d: what this model carries from a step to the next is of all sequences of a rank at once, and those are %d"
                    .formatted(microBatch, globalBatch / dp())));
  }

  /** The model's sizes that have to be a multiple of one of the layout's. */
  private Optional<Refusal> refused(PlannedModel model, By by) {
    Placement placement = placement(1);
    return model.costs().divisible().stream()
        .filter(size -> size.by() == by)
        .flatMap(
            size -> size.refusal(placement).map(words -> new Refusal(size.flag(), words)).stream())
        .findFirst();
  }

  /** A size of which each rank would get a part that the kernels cannot compute. */
  private Optional<Refusal> misaligned(PlannedModel model) {
    Placement placement = placement(1);
    for (Divisible size : model.costs().divisible()) {
      int part = size.value() / size.by().ranks(placement);
      int multiple = Math.max(1, size.alignment() / model.bytes());
      if (part % multiple != 0) {
        return Optional.of(
            new Refusal(
                size.flag(),
                "%s %d over %s %d is %d, grouped products need multiples of %d"
                    .formatted(
                        size.words(),
                        size.value(),
                        size.by().flag(),
                        size.by().ranks(placement),
                        part,
                        multiple)));
      }
    }
    return Optional.empty();
  }

  private Optional<Refusal> refusedBatch() {
    return globalBatch % ((long) microBatch * dp()) == 0
        ? Optional.empty()
        : Optional.of(
            new Refusal(
                "global-batch-size",
                "--global-batch-size %d is no multiple of --micro-batch-size %d times %d data parallel ranks"
                    .formatted(globalBatch, microBatch, dp())));
  }

  /**
   * The flags that ask for this layout, without those that have Megatron's defaults.
   *
   * @param experts whether the model has experts
   * @param overlapGradReduce whether gradients are reduced during the backward
   */
  public List<String> flags(boolean experts, boolean overlapGradReduce) {
    List<String> line = new ArrayList<>(ranks(experts, overlapGradReduce));
    line.addAll(List.of("--micro-batch-size", String.valueOf(microBatch)));
    line.addAll(List.of("--global-batch-size", String.valueOf(globalBatch)));
    return line;
  }

  /** The same flags without those of the batches. */
  public List<String> ranks(boolean experts, boolean overlapGradReduce) {
    List<String> line = new ArrayList<>();
    if (tp > 1) {
      line.addAll(List.of("--tensor-model-parallel-size", String.valueOf(tp)));
    }
    if (sequenceParallel) {
      line.add("--sequence-parallel");
    }
    if (experts && ep > 1) {
      line.addAll(List.of("--expert-model-parallel-size", String.valueOf(ep)));
    }
    if (experts && etp != tp) {
      line.addAll(List.of("--expert-tensor-parallel-size", String.valueOf(etp)));
    }
    if (distributedOptimizer) {
      line.add("--use-distributed-optimizer");
    }
    if (overlapGradReduce && dp() > 1) {
      line.add("--overlap-grad-reduce");
    }
    return line;
  }
}
