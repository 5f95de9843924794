package moe4j.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.core.exc.StreamReadException;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.exc.MismatchedInputException;
import com.fasterxml.jackson.databind.exc.ValueInstantiationException;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** What is wrong with a JSON text, in words of ours: Jackson's own name its classes. */
public final class JsonProblem {
  private JsonProblem() {}

  /** A part of a sentence: what is wrong and at which property or line. */
  public static String of(JsonProcessingException e) {
    if (e instanceof ValueInstantiationException && e.getCause() != null) {
      return at(e) + reason(e.getCause());
    }
    if (e instanceof MismatchedInputException mismatch) {
      Class<?> target = mismatch.getTargetType();
      boolean missing = String.valueOf(e.getOriginalMessage()).contains("Missing");
      return at(e) + (missing ? "it is missing" : "it is not " + wanted(target));
    }
    if (e instanceof StreamConstraintsException) {
      return "it is nested too deep, or holds a number or a text that is too long" + line(e);
    }
    if (e instanceof StreamReadException || e.getLocation() != null) {
      return "it is no JSON" + line(e);
    }
    return at(e) + (e.getCause() == null ? "it cannot be read" : reason(e.getCause()));
  }

  /** A record's constructor says it in its own words; anything else has none that help. */
  private static String reason(Throwable cause) {
    return cause instanceof IllegalArgumentException && cause.getMessage() != null
        ? cause.getMessage()
        : "it holds what cannot be there";
  }

  private static String line(JsonProcessingException e) {
    return e.getLocation() == null || e.getLocation().getLineNr() < 1
        ? ""
        : " (line " + e.getLocation().getLineNr() + ")";
  }

  /** Such as {@code files[0].bytes: }, or nothing where it is the whole text. */
  private static String at(JsonProcessingException e) {
    if (!(e instanceof JsonMappingException mapping) || mapping.getPath().isEmpty()) {
      return "";
    }
    StringBuilder path = new StringBuilder();
    for (JsonMappingException.Reference step : mapping.getPath()) {
      if (step.getFieldName() == null) {
        path.append('[').append(step.getIndex()).append(']');
      } else {
        path.append(path.isEmpty() ? "" : ".").append(step.getFieldName());
      }
    }
    return path + ": ";
  }

  private static String wanted(Class<?> type) {
    if (type == null) {
      return "what belongs there";
    } else if (type.isEnum()) {
      return Arrays.stream(type.getEnumConstants())
          .map(String::valueOf)
          .collect(Collectors.joining(", ", "one of ", ""));
    } else if (List.of(int.class, Integer.class, long.class, Long.class).contains(type)) {
      return "a whole number that fits";
    } else if (type == double.class || type == Double.class) {
      return "a number";
    } else if (type == boolean.class || type == Boolean.class) {
      return "true or false";
    } else if (type == String.class) {
      return "a text";
    } else if (Collection.class.isAssignableFrom(type)) {
      return "a list";
    }
    return Map.class.isAssignableFrom(type)
            || type.isRecord()
            || type.getSimpleName().endsWith("Node")
        ? "an object"
        : "what belongs there";
  }
}
