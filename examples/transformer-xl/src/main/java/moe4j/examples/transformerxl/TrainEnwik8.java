package moe4j.examples.transformerxl;

import java.io.IOException;
import java.util.Map;
import moe4j.model.txl.TransformerXlRun;
import moe4j.model.txl.TransformerXlTask;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;

/**
 * Trains one of the enwik8 experiments on the corpus that {@code moe4j data enwik8} makes, in this
 * process. {@code enwik8-base} and {@code enwik8-base-moe64} are upstream's and FastMoE's and take
 * a GPU; {@code cpu} and {@code cpu-moe16} are small and take minutes on two cores.
 */
public final class TrainEnwik8 {
  private TrainEnwik8() {}

  /** Trains. The arguments are the experiment, the corpus's directory and the run's directory. */
  public static void main(String[] args) throws IOException {
    if (args.length != 3) {
      System.err.println(
          "TrainEnwik8 needs three arguments: PRESET CORPUS_DIRECTORY RUN_DIRECTORY");
      System.exit(2);
    }
    train(run(args[0], args[1], args[2]));
  }

  /** An experiment's run: a preset stands for flags, and those that follow it come after. */
  static TransformerXlRun run(String preset, String corpus, String directory) {
    return TransformerXlRun.parse("--preset", preset, "--data", corpus, "--work-dir", directory);
  }

  /** Trains it, with upstream's log. */
  static Pretraining.Outcome train(TransformerXlRun run) throws IOException {
    TransformerXlTask task = new TransformerXlTask(run, WorldEnvironment.of(Map.of()));
    return Pretraining.run(run.config(), task, ShutdownSignal.none(), null);
  }
}
