package moe4j.examples.gpt;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import moe4j.cli.Command;
import moe4j.config.BuildInfo;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.kernels.Scopes;
import moe4j.kernels.cuda.Cuda;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.ComputeDevice;
import moe4j.training.DevicePeak;
import moe4j.training.Pretraining;
import moe4j.training.RunConfig;
import moe4j.training.ShutdownSignal;
import moe4j.training.TrainState;
import moe4j.training.TrainingListener;
import moe4j.training.record.FlopCount;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@code moe4j bench gpt}: the time of a training step, taken in the loop that {@code pretrain-gpt}
 * runs, on the data it would read. On a GPU the loop waits for it at log intervals alone, so that a
 * figure is an interval's mean.
 *
 * <pre>
 * moe4j bench gpt --num-layers 4 --hidden-size 256 --num-attention-heads 4 --seq-length 256 \
 *   --micro-batch-size 8 --train-iters 50 --log-interval 1 --lr 3e-4 \
 *   --tokenizer-type ByteTokenizer --data-path corpus_text_document
 * </pre>
 */
public final class BenchCommand implements Command {

  /** Its flags beside those of {@code pretrain-gpt}. */
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

  @Override
  public String name() {
    return "bench gpt";
  }

  @Override
  public String summary() {
    return "time training steps, with the flags of pretrain-gpt; a figure a log interval";
  }

  @Override
  public Flags flags() {
    return RunConfig.flags(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    int warmup = parsed.get(Options.class).warmupSteps();
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    RunConfig config = RunConfig.of(parsed, environment.size());
    int steps = config.training().steps();
    int interval = config.logging().logInterval();
    if (steps / interval <= (warmup + interval - 1) / interval) {
      throw new IllegalArgumentException(
          "--train-iters %d leaves no whole --log-interval %d behind --warmup-steps %d"
              .formatted(steps, interval, warmup));
    }
    boolean compare = parsed.get(Options.class).compareCudaGraph();
    ShutdownSignal signal = ShutdownSignal.install();
    try (World world = Pretraining.join(config, environment)) {
      bench(world, config, warmup, compare, signal);
    }
    return 0;
  }

  /** Times a run; rank 0 says what came of it. */
  private static void bench(
      World world, RunConfig config, int warmup, boolean compare, ShutdownSignal signal)
      throws IOException {
    if (!config.training().device().equals("cuda")) {
      StepTimes times = new StepTimes(warmup);
      Pretraining.run(world, config, new GptTask(config), signal, times);
      if (world.rank() == 0) {
        System.out.println(
            times.summary((long) config.training().globalBatchSize() * config.model().seqLength()));
      }
      return;
    }
    ComputeDevice.check(config.training().device());
    if (!compare) {
      print(world, List.of(onGpu(world, "cuda", config, warmup, signal)));
      return;
    }
    int processes = world.size();
    BenchResult graph =
        onGpu(world, "cuda graph on", with(config, "on", processes), warmup, signal);
    BenchResult eager =
        onGpu(world, "cuda graph off", with(config, "off", processes), warmup, signal);
    print(world, List.of(graph, eager));
    if (graph.times().figures() > 0 && eager.times().figures() > 0) {
      System.out.println(graph.against(eager));
    }
  }

  /** The same run with or without captured graphs: of a flag that stands twice the last counts. */
  private static RunConfig with(RunConfig config, String cudaGraph, int processes) {
    List<String> line = new ArrayList<>(config.commandLine());
    line.addAll(List.of("--cuda-graph", cudaGraph));
    return RunConfig.parse(processes, line.toArray(String[]::new));
  }

  /** A run from nothing: the memory that an earlier one held is given back before. */
  private static BenchResult onGpu(
      World world, String name, RunConfig config, int warmup, ShutdownSignal signal)
      throws IOException {
    Cuda.emptyCache();
    Cuda.resetPeaks();
    GptTask task = new GptTask(config);
    StepTimes times = new StepTimes(warmup);
    Pretraining.run(world, config, task, signal, times);
    Cuda.Memory memory = Cuda.memory();
    int batch = config.training().globalBatchSize();
    int padded = config.model().paddedVocabulary(task.vocabulary());
    ScalarType dtype = config.training().bf16() ? ScalarType.BFloat16 : ScalarType.Float;
    Device device = Scopes.keep(() -> new Device(config.training().device()));
    return new BenchResult(
        name,
        times,
        (long) batch * config.model().seqLength(),
        FlopCount.of(config.model(), config.moe(), padded).of(batch) / world.size(),
        DevicePeak.of(dtype, device),
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

  /** Seconds a step, one figure for each interval that begins behind the warm-up. */
  static final class StepTimes implements TrainingListener {
    private final int warmup;
    private final List<Double> seconds = new ArrayList<>();

    StepTimes(int warmup) {
      this.warmup = warmup;
    }

    @Override
    public void interval(Interval interval) {
      if (interval.state().iteration() - interval.timed() >= warmup) {
        seconds.add(interval.seconds() / interval.timed());
      }
    }

    /** How many there are. */
    int figures() {
      return seconds.size();
    }

    /** Seconds a step; not a number where none was timed. */
    double median() {
      List<Double> sorted = seconds.stream().sorted().toList();
      int n = sorted.size();
      return n == 0 ? Double.NaN : (sorted.get((n - 1) / 2) + sorted.get(n / 2)) / 2;
    }

    /** The median of the figures, the range they lie in, and what it comes to in tokens. */
    String summary(long tokensPerStep) {
      if (seconds.isEmpty()) {
        return "no step was timed";
      }
      List<Double> sorted = seconds.stream().sorted().toList();
      int n = sorted.size();
      double median = median();
      return String.format(
          Locale.ROOT,
          "step time: median %.1f ms, %.1f to %.1f over %d figures | %.0f tokens/s",
          median * 1e3,
          sorted.get(0) * 1e3,
          sorted.get(n - 1) * 1e3,
          n,
          tokensPerStep / median);
    }

    @Override
    public void validation(Validation validation) {}

    @Override
    public void saved(TrainState state, String directory) {}

    @Override
    public void say(String sentence) {}
  }
}
