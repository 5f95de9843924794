package moe4j.console;

/**
 * The terminal that this process writes to. The application brings one; where none is found, output
 * is a file's or a pipe's.
 */
public interface Terminal {
  /** How many columns it has now; 0 where there is no terminal. */
  int columns();
}
