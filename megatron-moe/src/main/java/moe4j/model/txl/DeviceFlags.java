package moe4j.model.txl;

import moe4j.config.Builders;
import moe4j.config.Flag;
import moe4j.optimizer.OptimizerConfig;

/**
 * What a run computes on, in which types, and how it is looked at: pretrain-gpt's flags, of which
 * {@link OptimizerConfig} checks those of the optimizer's state.
 */
public record DeviceFlags(
    @Flag(
            help = "where to compute",
            value = "cpu",
            choices = {"cpu", "cuda"})
        String device,
    @Flag(help = "bf16 parameters with fp32 masters") boolean bf16,
    @Flag(help = "take the types of gradients' sums and moments from the four flags below")
        boolean usePrecisionAwareOptimizer,
    @Flag(
            help = "type of the sums of gradients, over ranks; bf16 with --bf16 only",
            value = "fp32",
            choices = {"fp32", "bf16"},
            needs = "use-precision-aware-optimizer")
        String mainGradsDtype,
    @Flag(
            help = "type of the masters of bf16 parameters",
            value = "fp32",
            choices = {"fp32", "fp16"},
            needs = "use-precision-aware-optimizer")
        String mainParamsDtype,
    @Flag(
            help = "how Adam's first moments are kept; bf16 and fp8 are rounded by keyed draws",
            value = "fp32",
            choices = {"fp32", "fp16", "bf16", "fp8"},
            needs = "use-precision-aware-optimizer")
        String expAvgDtype,
    @Flag(
            help = "how Adam's second moments are kept, likewise",
            value = "fp32",
            choices = {"fp32", "fp16", "bf16", "fp8"},
            needs = "use-precision-aware-optimizer")
        String expAvgSqDtype,
    @Flag(
            help =
                "how fp32 masters of bf16 parameters are kept: whole, or as the 16 bits that the"
                    + " parameter lacks",
            otherwise = "remainder on a GPU, whole on a CPU",
            choices = {"whole", "remainder"})
        String masterStorage,
    @Flag(
            help = "capture the training step as CUDA graphs",
            value = "on",
            choices = {"on", "off"},
            needs = "device cuda",
            tolerated = true)
        String cudaGraph,
    @Flag(
            help = "the same bits whenever a run is repeated, at some cost of speed",
            needs = "device cuda",
            tolerated = true)
        boolean deterministicMode,
    @Flag(
            help = "compute with libtorch's operations and without kernels of moe4j's own",
            needs = "device cuda",
            tolerated = true)
        boolean noFusedKernels,
    @Flag(help = "threads of the CPU's kernels", otherwise = "OMP_NUM_THREADS, or one a core")
        Integer numThreads,
    @Flag(help = "stop and save at a step this divides") Integer exitInterval,
    @Flag(help = "stop and save after so many minutes") Integer exitDurationInMins,
    @Flag(help = "go on, without the update, when a loss or gradient is not finite")
        boolean noCheckForNanInLossAndGrad,
    @Flag(help = "log the norm of all parameters") boolean logParamsNorm,
    @Flag(help = "directory for TensorBoard's event files") String tensorboardDir,
    @Flag(help = "name of the run in reports", otherwise = "its directory's name") String runName,
    @Flag(help = "log a table of the GPU's kernels in some steps", needs = "device cuda")
        boolean profile,
    @Flag(help = "the first of these steps, from 0", value = "10", needs = "profile")
        int profileStepStart,
    @Flag(help = "the step after the last of them", value = "12", needs = "profile")
        int profileStepEnd) {

  /** A builder whose values are the flags' defaults. */
  public static DeviceFlagsBuilder builder() {
    return Builders.of(DeviceFlags.class, DeviceFlagsBuilder.class);
  }

  /** A builder whose values are these. */
  public DeviceFlagsBuilder toBuilder() {
    return Builders.from(this, DeviceFlagsBuilder.class);
  }
}
