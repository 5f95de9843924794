package moe4j.config;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.snakeyaml.engine.v2.api.Dump;
import org.snakeyaml.engine.v2.api.DumpSettings;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Compose;
import org.snakeyaml.engine.v2.common.FlowStyle;
import org.snakeyaml.engine.v2.common.ScalarStyle;
import org.snakeyaml.engine.v2.exceptions.Mark;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.NodeTuple;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.SequenceNode;
import org.snakeyaml.engine.v2.nodes.Tag;

/**
 * Flags as a YAML file has them: one mapping, flag names as keys, with dashes or underscores. A
 * value stands as it would be typed; {@code true} is a flag without a value, {@code false} and
 * {@code null} are one that is not typed, a list is a flag with several values.
 */
public final class ConfigYaml {
  private ConfigYaml() {}

  /**
   * The words that a file's flags would be on a command line. A scalar's own text is taken: what
   * YAML makes a number of stays as it was written.
   *
   * @param name of the file, for what is thrown
   * @throws IllegalArgumentException where it is no such file: one sentence with its line
   */
  public static List<String> words(String name, String text) {
    Optional<Node> root;
    try {
      LoadSettings settings = LoadSettings.builder().setLabel(name).build();
      root = new Compose(settings).composeString(text);
    } catch (MarkedYamlEngineException e) {
      throw new IllegalArgumentException(
          "%s%s is no YAML: %s".formatted(name, line(e.getProblemMark()), e.getProblem()), e);
    } catch (YamlEngineException e) {
      throw new IllegalArgumentException("%s is no YAML".formatted(name), e);
    } catch (StackOverflowError e) {
      throw new IllegalArgumentException("%s is nested too deep".formatted(name), e);
    }
    if (root.isEmpty()) {
      return List.of();
    }
    if (!(root.get() instanceof MappingNode mapping)) {
      throw new IllegalArgumentException(
          "%s is to be a list of flags with their values, such as num-layers: 12".formatted(name));
    }
    Set<String> seen = new HashSet<>();
    List<String> words = new ArrayList<>();
    for (NodeTuple entry : mapping.getValue()) {
      if (!(entry.getKeyNode() instanceof ScalarNode key)) {
        throw refusal(name, entry.getKeyNode(), "a flag's name is a word");
      }
      String flag = key.getValue().replaceFirst("^--", "").replace('_', '-');
      if (!seen.add(flag)) {
        throw refusal(name, key, "%s stands there twice".formatted(key.getValue()));
      }
      addFlag(name, flag, entry.getValueNode(), words);
    }
    return words;
  }

  private static void addFlag(String name, String flag, Node value, List<String> words) {
    if (value instanceof SequenceNode list) {
      List<String> values = new ArrayList<>();
      for (Node each : list.getValue()) {
        if (!(each instanceof ScalarNode scalar)) {
          throw refusal(name, each, "%s is a list of lists".formatted(flag));
        }
        values.add(scalar.getValue());
      }
      if (!values.isEmpty()) {
        words.add("--" + flag);
        words.addAll(values);
      }
      return;
    }
    if (!(value instanceof ScalarNode scalar)) {
      throw refusal(name, value, "%s holds other keys; flags are not nested".formatted(flag));
    }
    boolean plain = scalar.getScalarStyle() == ScalarStyle.PLAIN;
    String text = scalar.getValue();
    if (plain && text.equals("true")) {
      words.add("--" + flag);
    } else if (!(plain && (text.equals("false") || scalar.getTag().equals(Tag.NULL)))) {
      words.add("--" + flag + "=" + text);
    }
  }

  private static IllegalArgumentException refusal(String name, Node node, String why) {
    return new IllegalArgumentException("%s%s: %s".formatted(name, line(node.getStartMark()), why));
  }

  private static String line(Optional<Mark> mark) {
    return mark.map(at -> ", line " + (at.getLine() + 1)).orElse("");
  }

  /**
   * A file of these flags, which {@link #words} reads again.
   *
   * @param comment lines for its head, without their {@code #}
   * @param arguments values by name, with dashes or underscores; what is null or an empty list was
   *     not typed and is left out
   */
  public static String text(List<String> comment, Map<String, Object> arguments) {
    StringBuilder text = new StringBuilder();
    comment.forEach(line -> text.append("# ").append(line).append('\n'));
    Dump dump =
        new Dump(DumpSettings.builder().setDefaultFlowStyle(FlowStyle.FLOW).setWidth(4096).build());
    arguments.forEach(
        (name, value) -> {
          if (value != null && !List.of().equals(value)) {
            String flag = name.replace('_', '-');
            text.append(flag).append(": ").append(dump.dumpToString(value).strip()).append('\n');
          }
        });
    return text.toString();
  }
}
