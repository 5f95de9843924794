package moe4j.application;

import moe4j.training.LogBackend;
import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.core.config.Configurator;

/** Log4j's core. */
public final class Log4jBackend implements LogBackend {
  @Override
  public void warnings() {
    Configurator.setRootLevel(Level.WARN);
  }
}
