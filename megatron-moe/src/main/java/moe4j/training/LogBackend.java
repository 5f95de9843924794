package moe4j.training;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.ServiceLoader;

/**
 * What a run asks of the logging backend. The application brings one; in a program of one's own,
 * where none is found, logging stays as that program has set it up.
 */
public interface LogBackend {
  /** The marker of a line that is for a run's file and not for the console. */
  String FILE_ONLY = "moe4j-file";

  /** The marker of a line that is for the console and not for a run's file. */
  String CONSOLE_ONLY = "moe4j-console";

  /** A run's file of log lines, which are kept in memory until it is clear that there is a run. */
  interface LogFile extends AutoCloseable {
    /** Writes what was logged so far; from here on each line at once. */
    void begin();

    /** Ends it: later lines are not written there. */
    @Override
    void close();
  }

  /** From here on only warnings and errors are logged. */
  void warnings();

  /** From here on the log is for a file, too, behind what is in it. */
  LogFile file(Path file);

  /** From here on only warnings and errors are logged, where the application's backend is there. */
  static void warningsOnly() {
    ServiceLoader.load(LogBackend.class).forEach(LogBackend::warnings);
  }

  /** Several as one; none does nothing. */
  static LogFile of(List<LogFile> files) {
    return new LogFile() {
      @Override
      public void begin() {
        files.forEach(LogFile::begin);
      }

      @Override
      public void close() {
        files.forEach(LogFile::close);
      }
    };
  }

  /** From here on the log is for a file, too, where the application's backend is there. */
  static LogFile alsoTo(Path file) {
    List<LogFile> files = new ArrayList<>();
    ServiceLoader.load(LogBackend.class).forEach(backend -> files.add(backend.file(file)));
    return of(files);
  }
}
