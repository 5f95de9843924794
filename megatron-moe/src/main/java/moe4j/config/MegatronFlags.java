package moe4j.config;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;

/**
 * The flags of Megatron-LM that moe4j does not have, each with what becomes of it. A command line
 * of Megatron's is taken if moe4j does what each of its flags asks for; otherwise the flag is
 * refused by name.
 *
 * <p>The table is made of blocks of names under a heading: {@code # REASON} for flags that are
 * refused, {@code + REASON} for flags that are taken without effect, {@code ~ WORDS} for other
 * names of a flag of ours. Behind a name stands {@code =A|B} where these values alone are taken,
 * {@code =*} where any value is, {@code =*...} where several are, and {@code ?FLAG=VALUE} where it
 * is taken beside that flag with that value alone, which is {@code false} for a switch that is not
 * there.
 */
final class MegatronFlags {
  private static final String TABLE = "megatron-flags.txt";
  private static final Map<String, Row> ROWS = read();

  private MegatronFlags() {}

  /** How many words may follow a flag that is taken. */
  enum Arity {
    SWITCH,
    VALUE,
    LIST
  }

  /**
   * What becomes of a flag.
   *
   * @param reason why it is refused, or why it has no effect
   * @param arity how many words follow it, if it is taken
   * @param values the values with which it is taken; null for any
   * @param beside {@code FLAG=VALUE} that it is taken beside alone, or null
   * @param words what it is another name of; empty for nothing
   * @param taken whether it is ever taken
   */
  record Row(
      String reason,
      Arity arity,
      List<String> values,
      String beside,
      List<String> words,
      boolean taken) {

    /** Whether the flag has no effect with these values, which are as typed. */
    boolean isTaken(List<String> typed) {
      return taken
          && (values == null || typed.stream().allMatch(t -> values.stream().anyMatch(same(t))));
    }

    private static Predicate<String> same(String typed) {
      return value -> value.equals(typed) || (number(value) != null && equal(value, typed));
    }

    private static boolean equal(String value, String typed) {
      BigDecimal other = number(typed);
      return other != null && number(value).compareTo(other) == 0;
    }

    private static BigDecimal number(String text) {
      return text.matches("-?\\d{1,9}(\\.\\d{1,9})?") ? new BigDecimal(text) : null;
    }
  }

  /** What becomes of a flag, or null if Megatron has no such flag. */
  static Row row(String name) {
    return ROWS.get(name);
  }

  private static Map<String, Row> read() {
    Map<String, Row> rows = new HashMap<>();
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(
                MegatronFlags.class.getResourceAsStream(TABLE), StandardCharsets.UTF_8))) {
      String heading = "";
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        if (line.matches("[#+~] .*")) {
          heading = line;
        } else if (!line.isBlank()) {
          for (String word : line.trim().split("\\s+")) {
            rows.put(word.replaceFirst("[=?].*", ""), row(heading, word));
          }
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(TABLE, e);
    }
    return rows;
  }

  private static Row row(String heading, String word) {
    String text = heading.substring(2);
    if (heading.startsWith("~")) {
      return new Row("use " + text, Arity.SWITCH, null, null, List.of(text.split(" ")), true);
    }
    boolean idle = heading.startsWith("+");
    int beside = word.indexOf('?');
    int equals = word.indexOf('=');
    if (beside >= 0) {
      return new Row(text, Arity.SWITCH, null, word.substring(beside + 1), List.of(), true);
    } else if (equals < 0) {
      return new Row(text, Arity.SWITCH, null, null, List.of(), idle);
    }
    String values = word.substring(equals + 1);
    boolean any = values.startsWith("*");
    return new Row(
        text,
        values.endsWith("...") ? Arity.LIST : Arity.VALUE,
        any ? null : List.of(values.split("\\|")),
        null,
        List.of(),
        true);
  }
}
