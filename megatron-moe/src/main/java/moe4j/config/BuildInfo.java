package moe4j.config;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Properties;

/** The version and the commit that were built, as the build wrote them down. */
public final class BuildInfo {
  private static final Properties BUILD = read();

  private BuildInfo() {}

  /** The version, such as {@code 0.1.0}. */
  public static String version() {
    return BUILD.getProperty("git.build.version", "unknown");
  }

  /** The commit, or {@code unknown} where the sources were in no repository. */
  public static String commit() {
    return BUILD.getProperty("git.commit.id.full", "unknown")
        + (Boolean.parseBoolean(BUILD.getProperty("git.dirty")) ? " with changes" : "");
  }

  /** Version and commit, for people. */
  public static String describe() {
    return version() + ", commit " + commit();
  }

  private static Properties read() {
    Properties properties = new Properties();
    try (InputStream in = BuildInfo.class.getResourceAsStream("/moe4j/git.properties")) {
      if (in != null) {
        properties.load(in);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("git.properties", e);
    }
    return properties;
  }
}
