package moe4j.application;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.atomic.AtomicInteger;
import moe4j.training.LogBackend;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.apache.logging.log4j.MarkerManager;
import org.apache.logging.log4j.core.Filter;
import org.apache.logging.log4j.core.Layout;
import org.apache.logging.log4j.core.LogEvent;
import org.apache.logging.log4j.core.appender.AbstractAppender;
import org.apache.logging.log4j.core.config.Property;
import org.apache.logging.log4j.core.filter.MarkerFilter;

/**
 * Appends log lines to a run's file. It opens the file for each of them: a directory that is
 * removed and made again in the course of a run gets what comes later. Where the file cannot be
 * written, a warning says so once, and the run goes on.
 */
final class RunFileAppender extends AbstractAppender {
  private static final Logger LOG = LogManager.getLogger(RunFileAppender.class);
  private static final AtomicInteger NUMBER = new AtomicInteger();

  private final Path file;
  private final ByteArrayOutputStream before = new ByteArrayOutputStream();
  private boolean begun;
  private boolean failing;

  RunFileAppender(Path file, Layout<?> layout) {
    super("run-" + NUMBER.incrementAndGet(), null, layout, true, Property.EMPTY_ARRAY);
    this.file = file;
  }

  /** What the file does not have, its own warnings among it. */
  static Filter filter() {
    return MarkerFilter.createFilter(
        LogBackend.CONSOLE_ONLY, Filter.Result.DENY, Filter.Result.NEUTRAL);
  }

  /** Writes the lines so far. A run that is refused never comes here, and leaves no file. */
  void begin() {
    tell(writeFirst());
  }

  private synchronized IOException writeFirst() {
    begun = true;
    return write(before.toByteArray());
  }

  @Override
  public void append(LogEvent event) {
    tell(write(getLayout().toByteArray(event)));
  }

  private void tell(IOException failure) {
    if (failure != null) {
      LOG.warn(
          MarkerManager.getMarker(LogBackend.CONSOLE_ONLY),
          "{}: {}; lines are missing there, and the run goes on",
          file,
          failure instanceof FileSystemException f && f.getReason() != null
              ? f.getReason()
              : failure.getMessage());
    }
  }

  /** What went wrong, the first time since it last went well; else null. */
  private synchronized IOException write(byte[] line) {
    if (!begun) {
      before.writeBytes(line);
      return null;
    }
    try {
      Files.createDirectories(file.toAbsolutePath().getParent());
      Files.write(file, line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
      failing = false;
      return null;
    } catch (IOException e) {
      boolean told = failing;
      failing = true;
      return told ? null : e;
    }
  }
}
