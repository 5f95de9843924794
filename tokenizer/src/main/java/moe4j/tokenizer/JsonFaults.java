package moe4j.tokenizer;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import java.util.regex.Pattern;

/** Words for what is wrong with JSON: the parser's own name its classes, or no place. */
public final class JsonFaults {
  /** The end of the parser's message, which names a setting of its own that users cannot change. */
  private static final Pattern SETTING = Pattern.compile(",? from `[^`]*`");

  private JsonFaults() {}

  /** What is wrong, in one line, without a place. */
  public static String of(JsonProcessingException e) {
    String words = e.getOriginalMessage();
    if (words == null) {
      return "it cannot be understood";
    }
    if (e instanceof StreamConstraintsException) {
      words = SETTING.matcher(words).replaceAll("");
      return words.startsWith("Document nesting depth")
          ? "its objects and lists are nested too deep: " + words
          : words;
    }
    return words.replace('\n', ' ');
  }

  /**
   * The same with line and column.
   *
   * @param parser open still: it knows the place where the exception has none
   */
  public static String placed(JsonProcessingException e, JsonParser parser) {
    JsonLocation at = e.getLocation() == null ? parser.currentLocation() : e.getLocation();
    return "at line %d, column %d: %s".formatted(at.getLineNr(), at.getColumnNr(), of(e));
  }
}
