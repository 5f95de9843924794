package moe4j.config;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.expectThrows;

import java.util.List;

/** What bad command lines are told. */
public final class Refusals {
  private Refusals() {}

  /** The first sentence with which some flags refuse a line, its words a single space apart. */
  public static String of(Flags flags, String line) {
    return all(flags, line).get(0);
  }

  /** All sentences with which some flags refuse a line. */
  public static List<String> all(Flags flags, String line) {
    RefusedLine refused = expectThrows(RefusedLine.class, () -> flags.parse(words(line)));
    refused.sentences().forEach(sentence -> assertFalse(sentence.contains("\n"), sentence));
    assertEquals(refused.getMessage(), String.join("\n", refused.sentences()));
    return refused.sentences();
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
