package moe4j.config;

import static org.testng.Assert.assertFalse;
import static org.testng.Assert.expectThrows;

/** What bad command lines are told. */
public final class Refusals {
  private Refusals() {}

  /** The sentence with which some flags refuse a line, whose words have single spaces between. */
  public static String of(Flags flags, String line) {
    String sentence =
        expectThrows(IllegalArgumentException.class, () -> flags.parse(words(line))).getMessage();
    assertFalse(sentence.contains("\n"), sentence);
    return sentence;
  }

  /** The sentence with which a record refuses a line. */
  public static String of(Class<? extends Record> type, String line) {
    return of(Flags.of(type), line);
  }

  /** A line's words. */
  public static String[] words(String line) {
    return line.isBlank() ? new String[0] : line.strip().split(" ", -1);
  }
}
