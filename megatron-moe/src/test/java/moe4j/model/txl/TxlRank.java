package moe4j.model.txl;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.bytedeco.pytorch.global.torch;

/**
 * One of several processes that make the runs of a file, one behind the other: a name in front of
 * each run's flags, all parted by tabs. {@link SeveralProcessesTest} starts it.
 */
final class TxlRank {
  private static final Duration TIMEOUT = Duration.ofMinutes(1);

  private TxlRank() {}

  /** Makes the runs. */
  public static void main(String[] args) throws Exception {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    torch.set_num_threads(1);
    ShutdownSignal signal = ShutdownSignal.install();
    int status = 0;
    try (World world = World.open(environment, TIMEOUT)) {
      for (String line : Files.readAllLines(Path.of(args[0]))) {
        List<String> words = List.of(line.split("\t"));
        run(environment, words.get(0), words.subList(1, words.size()), signal);
      }
      world.barrier();
    } catch (Exception | Error e) {
      e.printStackTrace(System.out);
      status = 1;
    }
    System.out.flush();
    Runtime.getRuntime().halt(status);
  }

  private static void run(
      WorldEnvironment environment, String name, List<String> flags, ShutdownSignal signal)
      throws Exception {
    // A world within the world: the same store, other names in it.
    WorldEnvironment own =
        new WorldEnvironment(
            environment.rank(),
            environment.size(),
            environment.rank(),
            environment.size(),
            environment.masterAddress(),
            environment.masterPort(),
            true,
            0,
            name);
    TransformerXlRun run = SmallRun.line(environment.size(), flags.toArray(new String[0]));
    run.checkRestart(false);
    try (World world = World.open(own, TIMEOUT)) {
      Pretraining.run(world, run.config(), new TransformerXlTask(run, own), signal, null);
    }
  }
}
