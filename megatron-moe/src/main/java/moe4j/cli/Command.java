package moe4j.cli;

import moe4j.config.Flags;

/**
 * A command of {@code moe4j}. Modules offer theirs through {@link java.util.ServiceLoader}, so the
 * entry point knows none of them.
 */
public interface Command {
  /** The word it is called by, or two with a space between. */
  String name();

  /** What it does, in one line. */
  String summary();

  /** What is typed behind its name beside flags, such as {@code RUN RUN...}; empty for nothing. */
  default String positional() {
    return "";
  }

  /** Its flags. */
  Flags flags();

  /** What the typed words stand for: a command with presets has theirs in front. */
  default String[] expand(String[] args) {
    return args;
  }

  /**
   * Runs it.
   *
   * @return the exit status
   * @throws IllegalArgumentException for bad input: one sentence for the user
   * @throws java.io.IOException for files that cannot be read or written: likewise
   */
  int run(Flags.Parsed parsed) throws Exception;
}
