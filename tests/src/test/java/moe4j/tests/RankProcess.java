package moe4j.tests;

import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.Pretraining;
import moe4j.training.RunConfig;
import moe4j.training.ShutdownSignal;
import org.bytedeco.pytorch.global.torch;

/**
 * A process of a world in which many runs are made one after the other, each by some of its ranks:
 * starting a process costs more than a small run. {@link ManyRuns} starts them.
 */
final class RankProcess {
  private RankProcess() {}

  /** Makes the runs that a file tells of, as far as this rank has a part in them. */
  public static void main(String[] args) throws Exception {
    Path directory = Path.of(args[0]);
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    torch.set_num_threads(1);
    int status = 0;
    ShutdownSignal signal = ShutdownSignal.install();
    try (World world = World.open(environment, ManyRuns.TIMEOUT)) {
      for (ManyRuns.Placed placed : ManyRuns.read(directory.resolve(ManyRuns.FILE))) {
        int rank = world.rank() - placed.first();
        if (rank >= 0
            && rank < placed.run().processes()
            && !run(placed, rank, environment, signal)) {
          status = 1;
        }
      }
      world.barrier();
    }
    System.out.flush();
    Runtime.getRuntime().halt(status);
  }

  private static boolean run(
      ManyRuns.Placed placed, int rank, WorldEnvironment environment, ShutdownSignal signal)
      throws Exception {
    int processes = placed.run().processes();
    // A world within the world: the same store, other names in it.
    WorldEnvironment own =
        new WorldEnvironment(
            rank,
            processes,
            rank,
            processes,
            environment.masterAddress(),
            environment.masterPort(),
            true,
            0,
            placed.run().name());
    String[] flags = placed.run().flags().toArray(String[]::new);
    System.out.printf("== %s, rank %d%n", placed.run().name(), rank);
    try (World world = processes == 1 ? World.alone() : World.open(own, ManyRuns.TIMEOUT)) {
      RunConfig config = RunConfig.parse(processes, flags);
      Pretraining.run(world, config, new SmallGpt(config, model -> model), signal, null);
      return true;
    } catch (Exception | Error e) {
      Path failed = Path.of(args(placed.run().flags())).resolve("failed-" + rank);
      Files.createDirectories(failed.getParent());
      try (PrintStream out = new PrintStream(failed.toFile())) {
        e.printStackTrace(out);
      }
      e.printStackTrace(System.out);
      return false;
    }
  }

  private static String args(List<String> flags) {
    return flags.get(flags.indexOf("--metrics-dir") + 1);
  }

  static String toLine(List<String> words) {
    return String.join("\t", words);
  }

  static List<String> toWords(String line) {
    return Arrays.asList(line.split("\t"));
  }
}
