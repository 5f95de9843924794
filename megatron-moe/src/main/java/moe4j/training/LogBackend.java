package moe4j.training;

import java.util.ServiceLoader;

/**
 * What a run asks of the logging backend. The application brings one; in a program of one's own,
 * where none is found, logging stays as that program has set it up.
 */
public interface LogBackend {
  /** From here on only warnings and errors are logged. */
  void warnings();

  /** From here on only warnings and errors are logged, where the application's backend is there. */
  static void warningsOnly() {
    ServiceLoader.load(LogBackend.class).forEach(LogBackend::warnings);
  }
}
