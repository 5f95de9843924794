package moe4j.parallel;

import java.util.ArrayList;
import java.util.List;
import moe4j.config.Builders;
import moe4j.config.Faults;
import moe4j.config.Flag;

/** How a run is divided among processes, by Megatron's flags. */
public record ParallelConfig(
    @Flag(help = "processes that share the matrices of dense layers", value = "1")
        int tensorModelParallelSize,
    @Flag(
            help =
                "between those matrices, each of these processes has a part of the tokens; without"
                    + " --tensor-model-parallel-size it does nothing")
        boolean sequenceParallel,
    @Flag(
            help = "processes among which the experts are spread",
            value = "1",
            insteadOf = "moe-expert-parallel-size")
        int expertModelParallelSize,
    @Flag(
            help = "processes that share the matrices of an expert",
            otherwise = "tensor-model-parallel-size")
        Integer expertTensorParallelSize,
    @Flag(help = "have the optimizer's state in parts, one a data-parallel process")
        boolean useDistributedOptimizer,
    @Flag(help = "add gradients up between processes while the backward goes on")
        boolean overlapGradReduce,
    @Flag(
            help = "gradient elements that are added up at once",
            otherwise =
                "the larger of 40e6 and 1e6 times the data-parallel processes; all, without"
                    + " --overlap-grad-reduce")
        Long ddpBucketSize,
    @Flag(
            help = "what GPUs communicate through",
            value = "nccl",
            choices = {"nccl", "gloo"})
        String distributedBackend,
    @Flag(help = "minutes after which a process that does not answer is given up", value = "10")
        double distributedTimeoutMinutes) {

  /** Checks ranges; whether the sizes fit the number of processes {@link #layout} says. */
  public ParallelConfig {
    Faults faults = new Faults();
    if (expertTensorParallelSize == null) {
      expertTensorParallelSize = tensorModelParallelSize;
    }
    faults.positive("distributed-timeout-minutes", distributedTimeoutMinutes);
    faults.positive("ddp-bucket-size", ddpBucketSize);
    int expertTensor = expertTensorParallelSize;
    faults.none(
        () ->
            new Layout(
                lcm(tensorModelParallelSize, expertModelParallelSize * expertTensor),
                tensorModelParallelSize,
                expertModelParallelSize,
                expertTensor));
    faults.refuse();
  }

  /** A builder whose values are the flags' defaults. */
  public static ParallelConfigBuilder builder() {
    return Builders.of(ParallelConfig.class, ParallelConfigBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public ParallelConfigBuilder toBuilder() {
    return Builders.from(this, ParallelConfigBuilder.class);
  }

  private static int lcm(int a, int b) {
    int x = Math.max(1, a);
    int y = Math.max(1, b);
    int r = x;
    while (r % y != 0) {
      r += x;
    }
    return r;
  }

  /** One process. */
  public static ParallelConfig single() {
    return builder().build();
  }

  /**
   * The layout of a run of so many processes.
   *
   * @throws IllegalArgumentException where the sizes do not divide them: one sentence
   */
  public Layout layout(int processes) {
    return new Layout(
        processes, tensorModelParallelSize, expertModelParallelSize, expertTensorParallelSize);
  }

  /** Remarks on the flags together with a layout, a sentence each. */
  public List<String> warnings(Layout layout) {
    List<String> warnings = new ArrayList<>();
    if (overlapGradReduce && layout.world() == 1) {
      warnings.add("--overlap-grad-reduce does nothing with one process");
    }
    if (useDistributedOptimizer && layout.world() == 1) {
      warnings.add("--use-distributed-optimizer does nothing with one process");
    }
    return warnings;
  }
}
