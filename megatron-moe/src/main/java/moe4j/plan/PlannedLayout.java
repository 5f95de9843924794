package moe4j.plan;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

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
   * Why a layout cannot be.
   *
   * @param kind what such layouts have in common
   * @param sentence what is wrong with this one
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
    return globalBatch / (microBatch * dp());
  }

  /** Tokens of a micro-batch on a rank outside the tensor-parallel blocks. */
  public long localTokens(ModelShape model) {
    long tokens = (long) microBatch * model.config().seqLength();
    return sequenceParallel ? tokens / tp : tokens;
  }

  /** Tokens of a micro-batch that a rank routes: with shared matrices each routes a part. */
  public long routedTokens(ModelShape model) {
    return (long) microBatch * model.config().seqLength() / tp;
  }

  /** Consecutive ranks that share each matrix. */
  public RankSpan tensorGroup() {
    return new RankSpan(tp, 1);
  }

  /** Ranks with the same part of the dense model. */
  public RankSpan dataGroup() {
    return new RankSpan(dp(), tp);
  }

  /** Ranks that have all experts together. */
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

  /** Why the model cannot be laid out like this; nothing where it can. */
  public Optional<Refusal> refusal(ModelShape model) {
    List<Refusal> found = new ArrayList<>();
    dense(model, found);
    if (model.moeLayers() > 0) {
      experts(model, found);
    }
    if (found.isEmpty() && globalBatch % (microBatch * dp()) != 0) {
      found.add(
          new Refusal(
              "global-batch-size",
              "--global-batch-size %d is no multiple of --micro-batch-size %d times %d data parallel ranks"
                  .formatted(globalBatch, microBatch, dp())));
    }
    return found.stream().findFirst();
  }

  private void dense(ModelShape model, List<Refusal> found) {
    var config = model.config();
    String tensor = "--tensor-model-parallel-size";
    divides(found, "world-size", worldSize, tensor, tp);
    divides(found, "num-attention-heads", config.numAttentionHeads(), tensor, tp);
    if (config.groupQueryAttention()) {
      divides(found, "num-query-groups", config.numQueryGroups(), tensor, tp);
    }
    if (model.denseLayers() > 0) {
      divides(found, "ffn-hidden-size", config.ffnHiddenSize(), tensor, tp);
    }
    if (model.sharedHidden() > 0) {
      divides(found, "moe-shared-expert-intermediate-size", model.sharedHidden(), tensor, tp);
    }
    if (model.vocabulary() % tp != 0) {
      found.add(
          new Refusal(
              "vocab-size",
              "the padded vocabulary of %d is no multiple of %s %d (see --make-vocab-size-divisible-by)"
                  .formatted(model.vocabulary(), tensor, tp)));
    }
    if (sequenceParallel) {
      divides(found, "seq-length", config.seqLength(), tensor, tp);
    }
  }

  private void experts(ModelShape model, List<Refusal> found) {
    divides(found, "num-experts", model.experts(), "--expert-model-parallel-size", ep);
    if (worldSize % (ep * etp) != 0) {
      found.add(
          new Refusal(
              "expert ranks",
              "--world-size %d is no multiple of --expert-model-parallel-size %d times --expert-tensor-parallel-size %d"
                  .formatted(worldSize, ep, etp)));
    }
    divides(
        found, "moe-ffn-hidden-size", model.expertHidden(), "--expert-tensor-parallel-size", etp);
    int multiple = 16 / model.bytes();
    if (found.isEmpty() && model.expertHidden() / etp % multiple != 0) {
      found.add(
          new Refusal(
              "moe-ffn-hidden-size",
              "--moe-ffn-hidden-size %d over --expert-tensor-parallel-size %d is %d, grouped products need multiples of %d"
                  .formatted(model.expertHidden(), etp, model.expertHidden() / etp, multiple)));
    }
    divides(found, "seq-length", model.config().seqLength(), "--tensor-model-parallel-size", tp);
  }

  private static void divides(
      List<Refusal> found, String flag, int value, String divisor, int size) {
    if (value % size != 0) {
      found.add(
          new Refusal(
              flag, "--%s %d is no multiple of %s %d".formatted(flag, value, divisor, size)));
    }
  }

  /** What is typed for it, Megatron's defaults left out. */
  public List<String> flags(boolean experts, boolean overlapGradReduce) {
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
    line.addAll(List.of("--micro-batch-size", String.valueOf(microBatch)));
    line.addAll(List.of("--global-batch-size", String.valueOf(globalBatch)));
    return line;
  }
}
