package moe4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.Optional;
import java.util.function.Consumer;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.CheckpointSummary;
import moe4j.checkpoint.Section;
import moe4j.model.ModelFamily;
import moe4j.model.RunJson;
import moe4j.training.run.BestModel;

/** The checkpoints that {@code --load} names, for commands that use a trained model. */
final class SavedModels {
  private SavedModels() {}

  /**
   * The kind of model that a directory's checkpoints are of, by the manifest of the newest.
   *
   * @return empty where the directory holds no checkpoint, or none whose family can be read;
   *     opening the directory then says why
   */
  static Optional<ModelFamily> family(Path directory) {
    try {
      return new CheckpointStore(directory, -1)
          .newest()
          .or(() -> best(directory))
          .filter(newest -> newest.run() != null)
          .map(newest -> RunJson.familyOf(newest.run().configuration()));
    } catch (IOException | IllegalArgumentException e) {
      return Optional.empty();
    }
  }

  private static Optional<CheckpointSummary> best(Path directory) {
    try {
      return new CheckpointStore(directory.resolve(BestModel.DIRECTORY), -1).newest();
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  /** Opens a directory's model, of whichever kind it is. */
  static Checkpoint open(Path directory, Consumer<String> warnings) throws IOException {
    boolean usesBest = family(directory).map(ModelFamily::usesBest).orElse(false);
    return open(directory, usesBest, warnings);
  }

  /**
   * Opens a directory's latest whole checkpoint, its model alone, or the best model of a run, where
   * that is what the kind of model is used by.
   *
   * @param warnings told what is broken and passed over
   * @throws IOException in one sentence, where the directory holds no checkpoint
   */
  static Checkpoint open(Path directory, ModelFamily family, Consumer<String> warnings)
      throws IOException {
    return open(directory, family.usesBest(), warnings);
  }

  private static Checkpoint open(Path directory, boolean usesBest, Consumer<String> warnings)
      throws IOException {
    Path best = directory.resolve(BestModel.DIRECTORY);
    return new CheckpointStore(usesBest && Files.isDirectory(best) ? best : directory, -1)
        .loadLatest(EnumSet.of(Section.MODEL), warnings)
        .orElseThrow(() -> new IOException("--load %s holds no checkpoint".formatted(directory)));
  }
}
