package moe4j.cli;

import moe4j.config.BuildInfo;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.Ranges;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.bench.Ceilings;
import moe4j.kernels.bench.KernelBenches;
import moe4j.kernels.bench.KernelTimer;
import moe4j.kernels.bench.KernelTimes;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.cuda.Cuda;
import moe4j.training.step.ComputeDevice;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@code moe4j bench kernels}: the time of each operation that has a kernel, beside that of its
 * reference, and which part of it the device would take at its ceilings.
 *
 * <pre>moe4j bench kernels --device cuda --bf16 --only norm</pre>
 */
public final class BenchKernelsCommand implements Command {

  /** Its flags. */
  public record Options(
      @Flag(
              help = "where the operations are timed",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device,
      @Flag(
              help = "one topic's operations",
              otherwise = "all topics'",
              choices = {
                "norm",
                "activation",
                "dropout",
                "attention",
                "experts",
                "loss",
                "optimizer",
                "product"
              })
          String only,
      @Flag(help = "in small shapes, which a CPU takes in any case") boolean small,
      @Flag(help = "bf16 and not fp32") boolean bf16,
      @Flag(help = "first rounds that do not count", value = "5") int warmupRounds,
      @Flag(help = "rounds, of which the median is printed", value = "20") int rounds,
      @Flag(help = "threads of the CPU's kernels", otherwise = "OMP_NUM_THREADS, or one a core")
          Integer numThreads) {

    /** Checks ranges. */
    public Options {
      Ranges.notNegative("warmup-rounds", warmupRounds);
      Ranges.positive("rounds", rounds);
      Ranges.threads(numThreads);
    }
  }

  @Override
  public String name() {
    return "bench kernels";
  }

  @Override
  public String summary() {
    return "time each operation that has a kernel, beside its reference and its floor";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) {
    Options options = parsed.get(Options.class);
    ScalarType dtype = options.bf16() ? ScalarType.BFloat16 : ScalarType.Float;
    NativeLibraries.setThreads(
        options.numThreads() == null ? NativeLibraries.defaultThreads() : options.numThreads());
    try (ComputeDevice opened = ComputeDevice.open(options.device())) {
      boolean cuda = opened.device().is_cuda();
      KernelBench.Scale scale = new KernelBench.Scale(dtype, options.small() || !cuda);
      KernelTimer timer =
          new KernelTimer(opened.device(), dtype, options.warmupRounds(), options.rounds());
      System.out.printf(
          "%s, %s, commit %s%n",
          cuda ? Cuda.name() : "CPU, %d threads".formatted(NativeLibraries.threads()),
          options.bf16() ? "bf16" : "fp32",
          BuildInfo.commit());
      Ceilings ceilings = Ceilings.measure(dtype, opened.device());
      System.out.println(ceilings);
      System.out.println(KernelTimes.header());
      for (KernelBench bench : KernelBenches.all()) {
        if (options.only() == null || options.only().equals(bench.name())) {
          for (BenchCase of : bench.cases(scale)) {
            System.out.println(timer.time(of).line(ceilings));
          }
        }
      }
    }
    return 0;
  }
}
