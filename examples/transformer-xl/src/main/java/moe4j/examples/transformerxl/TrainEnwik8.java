package moe4j.examples.transformerxl;

import java.io.IOException;
import java.util.Map;
import moe4j.model.ModelFamily;
import moe4j.model.RunConfig;
import moe4j.model.txl.TransformerXlFamily;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;

/**
 * Trains a Transformer-XL in this process, by the flags of {@code pretrain-txl}: such as {@code
 * --preset enwik8-base --data corpora/enwik8 --work-dir runs/enwik8-base} on the corpus that {@code
 * moe4j data enwik8} makes. {@code enwik8-base} and {@code enwik8-base-moe64} are upstream's and
 * FastMoE's experiments and take a GPU; {@code cpu} and {@code cpu-moe16} are small and take
 * minutes on two cores.
 */
public final class TrainEnwik8 {
  private static final ModelFamily FAMILY = new TransformerXlFamily();

  private TrainEnwik8() {}

  /** Trains. The arguments are flags; what is wrong with them is said in a sentence. */
  public static void main(String[] args) throws IOException {
    RunConfig run;
    try {
      run = run(args);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
      return;
    }
    train(run);
  }

  /** The run of a command line, in which a preset stands for flags in front of the others. */
  static RunConfig run(String... args) {
    String[] line = FAMILY.expand(args, System.out::println);
    return FAMILY.run(FAMILY.flags().parse(line).withoutPositional(), 1);
  }

  /** Trains it, with upstream's log. */
  static Pretraining.Outcome train(RunConfig run) throws IOException {
    return Pretraining.run(
        run, FAMILY.task(run, WorldEnvironment.of(Map.of())), ShutdownSignal.none(), null);
  }
}
