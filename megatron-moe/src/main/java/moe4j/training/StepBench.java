package moe4j.training;

import java.io.IOException;
import java.util.List;
import moe4j.config.BuildInfo;
import moe4j.config.Flag;
import moe4j.kernels.cuda.Cuda;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.tensor.Scopes;
import moe4j.training.step.ComputeDevice;
import moe4j.training.step.DevicePeak;
import moe4j.training.step.StepTimes;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The time of a training step, taken in the loop that a pretraining command runs, on the data it
 * would read. On a GPU the loop waits for it at log intervals alone, so that a figure is an
 * interval's mean.
 */
public final class StepBench {
  private final RunConfig config;
  private final WorldEnvironment environment;
  private final int warmup;
  private final ShutdownSignal signal;

  /** The flags of a bench beside those of the pretraining command. */
  public record Options(
      @Flag(help = "first steps that do not count", value = "10") int warmupSteps,
      @Flag(help = "time a second run without CUDA graphs, too", needs = "device cuda")
          boolean compareCudaGraph) {

    /** Checks ranges. */
    public Options {
      if (warmupSteps < 1) {
        throw new IllegalArgumentException(
            "--warmup-steps %d: the first step at least is no measure".formatted(warmupSteps));
      }
    }
  }

  private StepBench(
      RunConfig config, WorldEnvironment environment, int warmup, ShutdownSignal signal) {
    this.config = config;
    this.environment = environment;
    this.warmup = warmup;
    this.signal = signal;
  }

  /**
   * Times a run, as one of a world's processes; rank 0 says what came of it.
   *
   * @throws IllegalArgumentException where no interval is left behind the warm-up: one sentence
   */
  public static void run(WorldEnvironment environment, RunConfig config, Options options)
      throws IOException {
    int warmup = options.warmupSteps();
    int interval = config.logging().logInterval();
    if (config.training().steps() / interval <= (warmup + interval - 1) / interval) {
      throw new IllegalArgumentException(
          "%s %d leaves no whole --log-interval %d after --warmup-steps %d"
              .formatted(
                  config.family().words().steps(), config.training().steps(), interval, warmup));
    }
    StepBench bench = new StepBench(config, environment, warmup, ShutdownSignal.none());
    try (World world = Pretraining.join(config, environment)) {
      bench.run(world, options.compareCudaGraph());
    }
  }

  private Task task(RunConfig run) throws IOException {
    return run.family().benchTask(run, environment);
  }

  private void run(World world, boolean compare) throws IOException {
    if (!config.training().device().equals("cuda")) {
      StepTimes times = new StepTimes(warmup, config.logging().logInterval());
      Pretraining.run(world, config, task(config), signal, times);
      if (world.rank() == 0) {
        System.out.println(times.summary(tokens()));
      }
      return;
    }
    ComputeDevice.check(config.training().device());
    if (!compare) {
      print(world, List.of(onGpu(world, "cuda", config)));
      return;
    }
    BenchResult graph = onGpu(world, "cuda graph on", config.withCudaGraph("on"));
    BenchResult eager = onGpu(world, "cuda graph off", config.withCudaGraph("off"));
    print(world, List.of(graph, eager));
    if (world.rank() == 0 && graph.times().figures() > 0 && eager.times().figures() > 0) {
      System.out.println(graph.against(eager));
    }
  }

  private long tokens() {
    return (long) config.training().globalBatchSize() * config.model().sequenceLength();
  }

  /** A run from nothing: the memory that an earlier one held is given back before. */
  private BenchResult onGpu(World world, String name, RunConfig run) throws IOException {
    Cuda.emptyCache();
    Cuda.resetPeaks();
    Task task = task(run);
    StepTimes times = new StepTimes(warmup, config.logging().logInterval());
    Pretraining.run(world, run, task, signal, times);
    Cuda.Memory memory = Cuda.memory();
    int padded = run.model().paddedVocabulary(task.vocabulary());
    ScalarType dtype = run.training().bf16() ? ScalarType.BFloat16 : ScalarType.Float;
    Device device = Scopes.keep(() -> new Device(run.training().device()));
    return new BenchResult(
        name,
        times,
        tokens(),
        run.model()
                .costs(padded)
                .flops(run.training().globalBatchSize(), run.training().microBatchSize())
            / world.size(),
        DevicePeak.of(dtype, device).best(),
        memory.maxAllocated(),
        memory.maxReserved());
  }

  private static void print(World world, List<BenchResult> results) {
    if (world.rank() > 0) {
      return;
    }
    System.out.printf("%s, commit %s%n", Cuda.name(), BuildInfo.commit());
    results.forEach(System.out::println);
  }
}
