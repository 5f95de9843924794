package moe4j.application;

import java.io.IOException;
import moe4j.console.Terminal;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.jline.terminal.TerminalBuilder;
import org.jline.utils.Signals;

/** The terminal as JLine knows it, which asks {@code stty}: once, and where its size changes. */
public final class JlineTerminal implements Terminal {
  private static final Logger LOG = LogManager.getLogger(JlineTerminal.class);

  private org.jline.terminal.Terminal terminal;
  private boolean opened;
  private volatile boolean changed = true;
  private int columns;

  @Override
  public synchronized int columns() {
    if (!opened) {
      opened = true;
      open();
    }
    if (terminal != null && changed) {
      changed = false;
      // A terminal that does not say how wide it is says 0: it is one all the same.
      columns = terminal.getWidth() > 0 ? terminal.getWidth() : 80;
    }
    return columns;
  }

  private void open() {
    try {
      terminal = TerminalBuilder.builder().system(true).dumb(false).nativeSignals(false).build();
      Signals.register("WINCH", () -> changed = true);
    } catch (IOException | IllegalStateException e) {
      LOG.debug("no terminal", e);
    }
  }
}
