package moe4j.record;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import moe4j.record.MetricsFile.Line;
import moe4j.record.RunHistory.LoadPoint;
import moe4j.record.RunHistory.Moment;
import moe4j.record.RunHistory.Point;

/** Reads what {@link MetricsWriter} wrote, of a run that goes on or was killed too. */
public final class MetricsReader {
  private MetricsReader() {}

  /**
   * Reads a run.
   *
   * @param run the run's directory, or its {@code metrics.jsonl}
   * @throws IOException in one sentence that names the path: it does not exist, holds no record, or
   *     the record is empty or not one
   */
  public static RunHistory read(Path run) throws IOException {
    if (!Files.exists(run)) {
      throw new IOException("there is no run at " + run);
    }
    Path file = Files.isDirectory(run) ? run.resolve(MetricsFile.NAME) : run;
    if (!Files.exists(file)) {
      throw new IOException("%s holds no %s, so it is no run".formatted(run, MetricsFile.NAME));
    }
    List<Line> lines = MetricsFile.read(file);
    if (lines.isEmpty()) {
      throw new IOException(file + " is empty: the run recorded nothing");
    }
    RunDescription config = null;
    List<Point> train = new ArrayList<>();
    Evaluations evaluations = new Evaluations();
    List<LoadPoint> load = new ArrayList<>();
    Optional<String> end = Optional.empty();
    for (int i = 0; i < lines.size(); i++) {
      JsonNode json = lines.get(i).json();
      try {
        switch (lines.get(i).kind()) {
          case MetricsFile.CONFIG -> config = config(json);
          case MetricsFile.TRAIN -> train.add(point(json));
          case MetricsFile.VALIDATION -> evaluations.add(json.path("set").asText(), point(json));
          case MetricsFile.EXPERT_LOAD -> load.add(new LoadPoint(moment(json), load(json)));
          case MetricsFile.END -> end = Optional.of(json.path("reason").asText());
          default -> throw new IllegalArgumentException("unknown kind " + lines.get(i).kind());
        }
      } catch (IllegalArgumentException e) {
        throw new IOException("%s, line %s: %s".formatted(file, i + 1, e.getMessage()), e);
      }
    }
    if (config == null) {
      throw new IOException(file + " has no configuration line, so it is no run's record");
    }
    return new RunHistory(
        file.toAbsolutePath().getParent(),
        config,
        train,
        evaluations.validation,
        evaluations.test,
        load,
        end);
  }

  /**
   * Evaluations as they are read. A step has one validation loss: where one was taken in the course
   * of training, what the end of the run took on other samples is no point of the curve. Records of
   * earlier versions do not tell the two apart but by their order.
   */
  private static final class Evaluations {
    private final List<Point> validation = new ArrayList<>();
    private final List<Point> test = new ArrayList<>();
    private boolean lastInCourse;

    void add(String set, Point point) {
      if (set.equals(ValidationRecord.Set.TEST.key)) {
        test.add(point);
        return;
      }
      int last = validation.size() - 1;
      boolean again = last >= 0 && validation.get(last).at().step() == point.at().step();
      boolean inCourse = set.equals(ValidationRecord.Set.TRAINING.key);
      if (again && !inCourse && (lastInCourse || set.equals(ValidationRecord.Set.AGAIN.key))) {
        return;
      }
      if (again) {
        validation.remove(last);
      }
      validation.add(point);
      lastInCourse = inCourse;
    }
  }

  private static RunDescription config(JsonNode json) {
    int format = json.path("format").asInt();
    if (format != MetricsFile.FORMAT) {
      throw new IllegalArgumentException(
          "format %s, this version reads format %s".formatted(format, MetricsFile.FORMAT));
    }
    return new RunDescription(
        json.path("name").asText(),
        MetricsFile.JSON.convertValue(
            json.path("arguments"), new TypeReference<LinkedHashMap<String, Object>>() {}),
        json.path("total_parameters").asLong(),
        json.path("active_parameters").asLong(),
        json.path("tokens_per_sample").asInt(),
        MetricsFile.JSON.convertValue(
            json.path("environment"), new TypeReference<LinkedHashMap<String, String>>() {}));
  }

  private static Moment moment(JsonNode json) {
    return new Moment(
        json.path("step").asInt(),
        json.path("consumed_samples").asLong(),
        json.path("tokens").asLong(),
        json.path("wall_s").asDouble());
  }

  private static Point point(JsonNode json) {
    return new Point(moment(json), numbers(json.path("values")));
  }

  /** Numbers by name; none where there is no such object. */
  private static Map<String, Double> numbers(JsonNode json) {
    Map<String, Double> numbers = new LinkedHashMap<>();
    json.properties().forEach(entry -> numbers.put(entry.getKey(), number(entry.getValue())));
    return numbers;
  }

  private static double number(JsonNode value) {
    return value.isTextual() ? Double.parseDouble(value.textValue()) : value.doubleValue();
  }

  private static ExpertLoad load(JsonNode json) {
    List<ExpertLoad.Layer> layers = new ArrayList<>();
    for (JsonNode layer : json.path("layers")) {
      List<Long> tokens = new ArrayList<>();
      layer.path("tokens").forEach(count -> tokens.add(count.longValue()));
      layers.add(
          new ExpertLoad.Layer(
              layer.path("layer").asInt(),
              tokens,
              layer.path("dropped").asLong(),
              numbers(layer.path("losses")),
              numbers(layer.path("figures"))));
    }
    return new ExpertLoad(layers);
  }
}
