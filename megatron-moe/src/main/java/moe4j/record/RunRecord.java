package moe4j.record;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Path;

/**
 * A file that a run is written down in as it goes. What cannot be written is left out whole, in a
 * sentence that names the file, and what comes later may be written all the same.
 */
public interface RunRecord extends Closeable {

  /** Where it is written. */
  Path file();

  /** A log interval. */
  void train(IterationRecord record) throws IOException;

  /** The experts' load over the log interval that ends with a step. */
  void expertLoad(int step, long consumedSamples, ExpertLoad load) throws IOException;

  /** An evaluation. */
  void validation(ValidationRecord record) throws IOException;

  /** The run's end, and why. */
  void end(int step, long consumedSamples, String reason) throws IOException;
}
