package moe4j.tests;

import java.nio.file.Path;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.bytedeco.pytorch.global.torch;

/** A rank of runs that are made one after the other: {@link ManyRuns} starts it. */
final class RankProcess {
  private RankProcess() {}

  /** Makes the runs that a file tells of. */
  public static void main(String[] args) throws Exception {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    torch.set_num_threads(1);
    boolean allWell = true;
    ShutdownSignal signal = ShutdownSignal.install();
    try (World world = World.open(environment, ManyRuns.TIMEOUT)) {
      for (ManyRuns.Run run : ManyRuns.read(Path.of(args[0]))) {
        allWell &= run(run, environment, signal);
        // What a run leaves behind has to be harmless once it is collected, too.
        System.gc();
      }
      world.barrier();
    }
    System.out.flush();
    Runtime.getRuntime().halt(allWell ? 0 : 1);
  }

  private static boolean run(
      ManyRuns.Run run, WorldEnvironment environment, ShutdownSignal signal) {
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
            run.name());
    System.out.printf("== %s, rank %d%n", run.name(), environment.rank());
    long begin = System.nanoTime();
    try (World world = run.processes() == 1 ? World.alone() : World.open(own, ManyRuns.TIMEOUT)) {
      RunConfig config = GptFamily.parse(run.processes(), run.flags().toArray(String[]::new));
      Pretraining.run(world, config, new SmallGpt(config, model -> model), signal, null);
      System.out.printf("== %s took %.1f s%n", run.name(), (System.nanoTime() - begin) / 1e9);
      return true;
    } catch (Exception | Error e) {
      e.printStackTrace(System.out);
      return false;
    }
  }
}
