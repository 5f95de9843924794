package moe4j.cli;

import java.time.Duration;
import java.util.List;
import moe4j.config.BuildInfo;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.Ranges;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.cuda.Cuda;
import moe4j.parallel.CommBench;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.tensor.Scopes;
import moe4j.training.step.ComputeDevice;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@code moe4j bench comm}: the time of each collective, through moe4j's layer and of c10d
 * directly.
 *
 * <pre>moe4j launch --nproc-per-node 2 -- ./moe4j bench comm</pre>
 */
public final class BenchCommCommand implements Command {

  /** Its flags. */
  public record Options(
      @Flag(help = "sizes of the whole tensors, in bytes", value = "1024 65536 4194304 67108864")
          List<String> sizes,
      @Flag(help = "first rounds that do not count", value = "5") int warmupRounds,
      @Flag(help = "rounds, of which the median is printed", value = "30") int rounds,
      @Flag(help = "bf16 and not fp32") boolean bf16,
      @Flag(
              help = "where the tensors are",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device,
      @Flag(
              help = "what GPUs communicate through",
              value = "nccl",
              choices = {"nccl", "gloo"},
              needs = "device cuda")
          String distributedBackend) {

    /** Checks ranges. */
    public Options {
      Ranges.notNegative("warmup-rounds", warmupRounds);
      Ranges.positive("rounds", rounds);
      for (String size : sizes) {
        if (!size.matches("[1-9]\\d{0,11}")) {
          throw new IllegalArgumentException(
              "--sizes takes numbers of bytes, not '%s'".formatted(size));
        }
      }
    }
  }

  @Override
  public String name() {
    return "bench comm";
  }

  @Override
  public String summary() {
    return "time the collectives between the processes it is launched as";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) {
    Options options = parsed.get(Options.class);
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    if (environment.isAlone()) {
      throw new IllegalArgumentException(
          "one process has nobody to communicate with: moe4j launch --nproc-per-node 2 -- ./moe4j"
              + " bench comm");
    }
    boolean cuda = options.device().equals("cuda");
    boolean nccl = cuda && options.distributedBackend().equals("nccl");
    ComputeDevice.check(options.device());
    NativeLibraries.setThreads(1);
    if (cuda) {
      ComputeDevice.choose(nccl, environment);
    }
    try (World world = World.open(environment, Duration.ofMinutes(10))) {
      Device device = Scopes.keep(() -> new Device(options.device()));
      ScalarType dtype = options.bf16() ? ScalarType.BFloat16 : ScalarType.Float;
      CommBench bench =
          new CommBench(world, device, dtype, nccl, options.warmupRounds(), options.rounds());
      boolean first = world.rank() == 0;
      if (first) {
        System.out.printf(
            "%d processes, %s, %s, %s, commit %s%n",
            world.size(),
            cuda ? Cuda.name() : "CPU",
            nccl ? "NCCL" : "Gloo",
            options.bf16() ? "bf16" : "fp32",
            BuildInfo.commit());
      }
      for (String size : options.sizes()) {
        bench.run(
            Long.parseLong(size),
            result -> {
              if (first) {
                System.out.println(result);
              }
            });
      }
    }
    return 0;
  }
}
