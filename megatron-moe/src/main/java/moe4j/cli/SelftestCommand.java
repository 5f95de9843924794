package moe4j.cli;

import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Collectors;
import moe4j.config.BuildInfo;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.selftest.KernelChecks;
import moe4j.kernels.selftest.SelfTest;
import moe4j.tensor.Scopes;
import moe4j.training.step.ComputeDevice;
import org.bytedeco.pytorch.Device;

/**
 * {@code moe4j selftest}: every kernel on fresh random inputs against plain operations in fp64, its
 * outputs and its gradients.
 */
public final class SelftestCommand implements Command {

  /** Its flags. */
  public record Options(
      @Flag(
              help = "where the kernels are checked",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device,
      @Flag(help = "seed of the random inputs", otherwise = "another each time") Long seed,
      @Flag(help = "print the summary and what failed, and no progress") boolean quiet,
      @Flag(help = "run the checks whose name has this in it", otherwise = "all") String only) {}

  @Override
  public String name() {
    return "selftest";
  }

  @Override
  public String summary() {
    return "check every kernel against plain operations in fp64, on this machine's device";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) {
    Options options = parsed.get(Options.class);
    boolean cuda = options.device().equals("cuda");
    ComputeDevice.check(options.device());
    long seed =
        options.seed() == null
            ? ThreadLocalRandom.current().nextInt(Integer.MAX_VALUE)
            : options.seed();
    Device device = Scopes.keep(() -> new Device(options.device()));
    List<KernelCheck> checks = checks(device, options.only());
    boolean quiet = options.quiet();
    // Progress is no part of the result: it goes beside it, where a pipe does not take it.
    SelfTest.Result result =
        SelfTest.run(
            checks,
            device,
            seed,
            line -> {
              if (!quiet || line.endsWith("FAILED")) {
                System.out.println(line);
              }
            },
            line -> {
              if (!quiet) {
                System.err.println(line);
              }
            });
    System.out.printf(
        "%s on %s, seed %d, commit %s%n",
        result, cuda ? gpu() : "the CPU", seed, BuildInfo.commit());
    return result.passed() ? 0 : 1;
  }

  private static List<KernelCheck> checks(Device device, String only) {
    List<KernelCheck> all = KernelChecks.on(device);
    if (only == null) {
      return all;
    }
    List<KernelCheck> some = all.stream().filter(check -> check.name().contains(only)).toList();
    if (some.isEmpty()) {
      throw new IllegalArgumentException(
          "--only %s: no check has that in its name; there are %s"
              .formatted(
                  only, all.stream().map(KernelCheck::name).collect(Collectors.joining(", "))));
    }
    return some;
  }

  private static String gpu() {
    return Cuda.name() + " (compute capability " + Cuda.computeCapability() + ")";
  }
}
