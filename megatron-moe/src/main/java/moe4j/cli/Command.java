package moe4j.cli;

import java.io.IOException;
import java.util.List;
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

  /**
   * The command that a line means, which is this one unless kinds of models have flags of their own
   * for it: then it is the command of the kind that the line names.
   *
   * @param args what is typed behind the name
   * @throws IllegalArgumentException where the line names no kind that there is: one sentence
   * @throws IOException where a file of flags cannot be read
   */
  default Command of(String[] args) throws IOException {
    return this;
  }

  /** Commands that are this one for one kind of model each, whose name is part of theirs. */
  default List<Command> byKind() {
    return List.of();
  }

  /** Its flags. */
  Flags flags();

  /** What the typed words stand for: a command with presets has theirs in front. */
  default String[] expand(String[] args) {
    return args;
  }

  /**
   * Checks its flags against each other, before anything is allocated: what {@link #run} would
   * refuse of them, for the same answer as all else that is wrong with the line.
   *
   * @param processes of the run
   * @throws IllegalArgumentException for bad input: one sentence for the user
   */
  default void check(Flags.Parsed parsed, int processes) {}

  /**
   * Checks as much of that as can be where some of its records were refused by themselves and are
   * null.
   *
   * @param processes of the run
   * @throws IllegalArgumentException for bad input: one sentence for the user
   */
  default void checkPart(Flags.Parsed parsed, int processes) {}

  /**
   * Runs it.
   *
   * @return the exit status
   * @throws IllegalArgumentException for bad input: one sentence for the user
   * @throws IOException for files that cannot be read or written: likewise
   */
  int run(Flags.Parsed parsed) throws Exception;
}
