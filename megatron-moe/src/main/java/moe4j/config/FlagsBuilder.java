package moe4j.config;

/**
 * Builds a record of flags for a Java caller. Such a builder has a method for each component of its
 * record, of the same name; where it is not called, the component has its flag's default. A list's
 * method takes the list, or its elements.
 *
 * @param <R> the record
 */
public interface FlagsBuilder<R extends Record> {

  /**
   * The record.
   *
   * @throws RefusedLine (an IllegalArgumentException) for what the flags would be refused for too:
   *     required values that are missing, values that cannot be, values that have no effect for
   *     want of another; a sentence for each, by the flags' names
   */
  R build();
}
