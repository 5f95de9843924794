package moe4j.checkpoint;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Optional;

/**
 * What a checkpoint is of, read from its manifest alone.
 *
 * @param directory the checkpoint's own directory
 * @param iteration steps taken
 * @param created when it was saved; empty where its manifest cannot be read
 * @param run what the run knew of itself; null where the manifest cannot be read
 */
public record CheckpointSummary(
    Path directory, long iteration, Optional<Instant> created, CheckpointInfo run) {

  static CheckpointSummary of(CheckpointFolder.Found found) {
    try {
      Manifest.Outline outline = Checkpoint.readOutline(found.directory());
      return new CheckpointSummary(
          found.directory(),
          found.iteration(),
          Optional.of(Instant.parse(outline.created())),
          outline.run());
    } catch (IOException e) {
      return new CheckpointSummary(found.directory(), found.iteration(), Optional.empty(), null);
    }
  }
}
