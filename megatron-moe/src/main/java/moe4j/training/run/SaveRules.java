package moe4j.training.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import moe4j.config.CheckpointConfig;
import moe4j.model.SaveWords;

/**
 * What a run may do in a directory that holds checkpoints already: go on with them, or leave them
 * alone. It replaces none of another run's.
 */
final class SaveRules {
  private SaveRules() {}

  /**
   * What a run does.
   *
   * @param load the directory whose newest checkpoint it starts from; null for none
   * @param resume whether that is its own run, taken up again, whatever else its flags say of
   *     {@code --load}
   * @param moveAside whether what lies in the directory makes room first
   */
  record Decision(String load, boolean resume, boolean moveAside) {}

  /**
   * Decides.
   *
   * @param own whether the checkpoints were saved by this very job, before its launcher started it
   *     again
   * @throws IllegalArgumentException where it would replace another run's: one sentence with what
   *     lies there and the ways on
   */
  static Decision decide(CheckpointConfig flags, SaveWords words, boolean own) throws IOException {
    if (flags.save() == null) {
      return new Decision(flags.load(), false, false);
    }
    Path save = Path.of(flags.save());
    Optional<SavedRun> found = SavedRun.in(save).filter(SavedRun::hasCheckpoints);
    if (found.isEmpty()) {
      return new Decision(flags.load(), false, false);
    }
    SavedRun run = found.get();
    boolean canGoOn = run.newest().isPresent();
    if (own || flags.autoResume()) {
      // A best model alone is of a run that died before its first checkpoint.
      return canGoOn
          ? new Decision(flags.save(), true, false)
          : new Decision(flags.load(), false, !own);
    }
    boolean same = flags.load() != null && isSame(Path.of(flags.load()), save);
    boolean goesOn = same && canGoOn && !flags.finetune();
    if (goesOn && flags.overwrite()) {
      throw new IllegalArgumentException(
          "%s goes on with %s, and --overwrite starts anew: only one of them can be"
              .formatted(words.goOn().formatted(save), run.describe()));
    } else if (goesOn) {
      return new Decision(flags.load(), false, false);
    } else if (flags.overwrite()) {
      return new Decision(flags.load(), false, true);
    }
    throw new IllegalArgumentException(
        "%s %s holds %s, and a new run would replace its checkpoints: %sanother %s leaves it"
                .formatted(
                    words.save(),
                    save,
                    run.describe(),
                    goOn(flags, words, canGoOn, same),
                    words.save())
            + " alone, --overwrite starts anew and keeps it in %s"
                .formatted(save.resolve(RunFiles.OLD + "...")));
  }

  /** How to use what the directory holds, before the other ways; empty if no flag uses it. */
  private static String goOn(
      CheckpointConfig flags, SaveWords words, boolean canGoOn, boolean same) {
    if (!canGoOn) {
      Path best = Path.of(flags.save(), BestModel.DIRECTORY);
      return words.weights() == null
          ? ""
          : words.weights().formatted(best) + " takes its weights, ";
    }
    String typed = words.goOn().formatted(flags.save());
    return same && flags.finetune()
        ? typed + " without --finetune goes on with it, "
        : typed + " goes on with it, ";
  }

  private static boolean isSame(Path one, Path other) throws IOException {
    return Files.exists(one) && Files.exists(other) && Files.isSameFile(one, other);
  }
}
