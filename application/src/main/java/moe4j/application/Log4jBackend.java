package moe4j.application;

import java.nio.file.Path;
import moe4j.training.LogBackend;
import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.core.Appender;
import org.apache.logging.log4j.core.Layout;
import org.apache.logging.log4j.core.LoggerContext;
import org.apache.logging.log4j.core.config.Configuration;
import org.apache.logging.log4j.core.config.Configurator;
import org.apache.logging.log4j.core.layout.PatternLayout;

/** Log4j's core. */
public final class Log4jBackend implements LogBackend {
  /** In {@code log4j2.xml}. */
  private static final String CONSOLE = "console";

  @Override
  public void warnings() {
    Configurator.setRootLevel(Level.WARN);
  }

  @Override
  public LogFile file(Path file) {
    LoggerContext context = (LoggerContext) LogManager.getContext(false);
    Configuration configuration = context.getConfiguration();
    Appender console = configuration.getAppender(CONSOLE);
    Layout<?> layout =
        console == null ? PatternLayout.createDefaultLayout(configuration) : console.getLayout();
    RunFileAppender appender = new RunFileAppender(file, layout);
    appender.start();
    configuration.getRootLogger().addAppender(appender, null, RunFileAppender.filter());
    context.updateLoggers();
    return new LogFile() {
      @Override
      public void begin() {
        appender.begin();
      }

      @Override
      public void close() {
        configuration.getRootLogger().removeAppender(appender.getName());
        context.updateLoggers();
        appender.stop();
      }
    };
  }
}
