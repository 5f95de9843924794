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
   * @return empty where the directory holds no checkpoint, or its newest manifest cannot be read;
   *     opening the directory then says why
   * @throws IllegalArgumentException where the newest is of a kind that the class path lacks: the
   *     flags of that kind are unknown then, whatever they are
   */
  static Optional<ModelFamily> family(Path directory) {
    try {
      return new CheckpointStore(directory, -1)
          .newest()
          .or(() -> best(directory))
          .filter(newest -> newest.run() != null)
          .map(SavedModels::family);
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  private static ModelFamily family(CheckpointSummary checkpoint) {
    try {
      return RunJson.familyOf(checkpoint.run().configuration());
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "checkpoint %s cannot be used: %s".formatted(checkpoint.directory(), e.getMessage()), e);
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
