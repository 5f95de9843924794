package moe4j.training.run;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.StringJoiner;
import java.util.function.UnaryOperator;
import moe4j.model.RunConfig;

/** The flags in which a resumed run differs from the run that saved its checkpoint. */
final class Differences {
  /** The parts of {@link RunConfig} that say what comes out; the others keep records. */
  private static final List<String> PARTS =
      List.of("model", "moe", "optimizer", "training", "data");

  /** Flags that do not change the results. */
  private static final Set<String> FREE =
      Set.of("exitInterval", "exitDurationInMins", "numThreads", "cudaGraph", "dataCachePath");

  private Differences() {}

  /**
   * A line for each flag.
   *
   * @param saved the configuration in a checkpoint
   * @param defaults what its flags are that it did not have yet
   * @param now the run's
   * @param flag a flag's name out of an argument's, such as {@code lr} or {@code train_iters}; null
   *     for one that the command line does not have
   */
  static List<String> of(
      JsonNode saved, JsonNode defaults, ObjectNode now, UnaryOperator<String> flag) {
    List<String> lines = new ArrayList<>();
    for (String part : PARTS) {
      if (!saved.has(part)) {
        // Nothing is known of it: Transformer-XL's checkpoints told nothing of the data once.
        continue;
      }
      for (Map.Entry<String, JsonNode> entry : now.path(part).properties()) {
        String name = entry.getKey();
        JsonNode before = saved.path(part).path(name);
        if (before.isMissingNode()) {
          before = defaults.path(part).path(name);
        }
        String typed = flag.apply(argument(name));
        String was = words(before, entry.getValue());
        String is = words(entry.getValue(), entry.getValue());
        if (!FREE.contains(name) && typed != null && !was.equals(is)) {
          lines.add("--%s was %s in the checkpoint's run, and is %s now".formatted(typed, was, is));
        }
      }
    }
    return lines;
  }

  /** Megatron's way: {@code train_iters} for {@code trainIters}. */
  private static String argument(String component) {
    return component.replaceAll("(?<=[a-z0-9])(?=[A-Z])", "_").toLowerCase(Locale.ROOT);
  }

  /** A value as people say it; one that has become a list had one value before. */
  private static String words(JsonNode value, JsonNode like) {
    if (value.isMissingNode() || value.isNull()) {
      return "not given";
    } else if (value.isBoolean()) {
      return value.asBoolean() ? "on" : "off";
    }
    ArrayNode list =
        value instanceof ArrayNode array ? array : JsonNodeFactory.instance.arrayNode().add(value);
    if (list.isEmpty()) {
      return "not given";
    }
    StringJoiner words = new StringJoiner(" ");
    list.forEach(item -> words.add(item.asText()));
    // A whole number is the same with a point.
    return like.isDouble() && list.size() == 1 && list.get(0).isNumber()
        ? String.valueOf(list.get(0).asDouble())
        : words.toString();
  }
}
