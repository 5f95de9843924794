package moe4j.training;

import java.util.List;
import java.util.function.Supplier;
import moe4j.console.Screen;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.apache.logging.log4j.Marker;
import org.apache.logging.log4j.MarkerManager;

/**
 * A run's log lines, which programs parse, and what a person at a terminal reads in their place.
 * Files and pipes always have the former.
 */
final class RunLog {
  /** The file in a run's directory. */
  static final String FILE = "log.txt";

  private static final Logger LOG = LogManager.getLogger(RunLog.class);
  private static final Marker FILE_ONLY = MarkerManager.getMarker(LogBackend.FILE_ONLY);
  private static final Marker CONSOLE_ONLY = MarkerManager.getMarker(LogBackend.CONSOLE_ONLY);

  private RunLog() {}

  /**
   * Logs.
   *
   * @param brief the words for a terminal, asked for where there is one
   */
  static void lines(List<String> full, Supplier<List<String>> brief) {
    Screen screen = Screen.current();
    if (!screen.isTerminal()) {
      full.forEach(LOG::info);
      return;
    }
    full.forEach(line -> LOG.info(FILE_ONLY, line));
    brief.get().forEach(line -> LOG.info(CONSOLE_ONLY, line));
  }
}
