package moe4j.record;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * The lines of a {@code metrics.jsonl}. A process may be killed while it writes one, so the last
 * may be torn and does not count then; any other that is no JSON object with a kind and a step is
 * an error.
 */
public final class MetricsFile {
  static final String NAME = "metrics.jsonl";

  /** The version of the lines' layout, in each configuration line. */
  static final int FORMAT = 1;

  static final String CONFIG = "config";
  static final String TRAIN = "train";
  static final String VALIDATION = "validation";
  static final String EXPERT_LOAD = "expert_load";
  static final String END = "end";

  /** Numbers that JSON lacks are written as the texts NaN, Infinity and -Infinity. */
  public static final ObjectMapper JSON =
      JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();

  record Line(String text, JsonNode json) {
    String kind() {
      return json.get("kind").textValue();
    }

    int step() {
      return json.get("step").intValue();
    }

    double wallSeconds() {
      return json.path("wall_s").asDouble();
    }
  }

  private MetricsFile() {}

  static List<Line> read(Path file) throws IOException {
    String text = new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
    String[] texts = text.split("\n", -1);
    List<Line> lines = new ArrayList<>();
    // Text after the last newline is a torn line, or empty.
    for (int i = 0; i < texts.length - 1; i++) {
      JsonNode json = parse(texts[i]);
      if (json == null) {
        if (i == texts.length - 2 && texts[i + 1].isEmpty()) {
          break;
        }
        throw new IOException(
            "%s, line %s: no JSON object with a kind and a step".formatted(file, i + 1));
      }
      lines.add(new Line(texts[i], json));
    }
    return lines;
  }

  private static JsonNode parse(String line) {
    try {
      JsonNode json = JSON.readTree(line);
      return json.path("kind").isTextual() && json.path("step").isInt() ? json : null;
    } catch (JsonProcessingException e) {
      return null;
    }
  }
}
