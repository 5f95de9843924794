package moe4j.tests;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A run's {@code metrics.jsonl}, as the file has it. */
final class RunRecord {
  private final List<JsonNode> lines = new ArrayList<>();

  private RunRecord() {}

  static RunRecord of(Path run) throws IOException {
    RunRecord record = new RunRecord();
    for (String line : Files.readAllLines(run.resolve("metrics.jsonl"))) {
      record.lines.add(new ObjectMapper().readTree(line));
    }
    return record;
  }

  /** The lines of a kind. */
  List<JsonNode> lines(String kind) {
    return lines.stream().filter(line -> line.get("kind").asText().equals(kind)).toList();
  }

  /** The steps of the training lines, in the file's order. */
  List<Integer> steps() {
    return lines("train").stream().map(line -> line.get("step").asInt()).toList();
  }

  /** One value of each training line, as its text, by the step. */
  Map<Integer, String> texts(String key) {
    Map<Integer, String> texts = new LinkedHashMap<>();
    lines("train")
        .forEach(
            line -> texts.put(line.get("step").asInt(), line.get("values").path(key).asText()));
    return texts;
  }

  /** One value of each training line, in the file's order. */
  double[] numbers(String key) {
    return lines("train").stream().mapToDouble(l -> l.get("values").get(key).asDouble()).toArray();
  }

  /** Everything about training and validation that does not depend on the time it took. */
  List<String> measured() {
    List<String> measured = new ArrayList<>();
    for (JsonNode line : lines) {
      String kind = line.get("kind").asText();
      Map<String, String> values = new LinkedHashMap<>();
      line.path("values").properties().forEach(e -> values.put(e.getKey(), e.getValue().asText()));
      values
          .keySet()
          .removeIf(k -> k.matches("elapsed.*|tokens/s|MFU.*|throughput.*|live native pointers"));
      if (kind.equals("expert_load")) {
        values.put("layers", line.get("layers").toString());
      }
      if (!kind.equals("config") && !kind.equals("end")) {
        measured.add(
            "%s %s at %s, %s samples: %s"
                .formatted(
                    kind,
                    line.path("set").asText(),
                    line.get("step"),
                    line.get("consumed_samples"),
                    values));
      }
    }
    return measured;
  }
}
