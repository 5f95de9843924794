package moe4j.model;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Map;
import java.util.TreeMap;
import moe4j.checkpoint.JsonProblem;
import moe4j.config.Flags;
import moe4j.config.TrainingConfig;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;

/**
 * A run's configuration as checkpoints keep it: the model's family by its name, and each record of
 * flags under its own.
 *
 * <p>Checkpoints of moe4j 0.1 name no family. Theirs is a GPT, or where they have flags of the
 * model's {@code own}, a Transformer-XL: that one had a GPT's record of the same shape as {@code
 * model} beside them, and no flags of its data.
 */
public final class RunJson {
  /** The key of the family's name. */
  public static final String FAMILY = "family";

  private static final String MODEL = "model";
  private static final String MOE = "moe";
  private static final String DATA = "data";
  private static final String OWN = "own";
  private static final String MORE = "more";

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          // Flags that have become lists had one value before.
          .enable(DeserializationFeature.ACCEPT_SINGLE_VALUE_AS_ARRAY)
          .build();

  private RunJson() {}

  static ObjectNode of(RunConfig run) {
    ObjectNode all = JSON.createObjectNode();
    all.put(FAMILY, run.family().name());
    all.set(MODEL, JSON.valueToTree(run.model().flags()));
    all.set(MOE, JSON.valueToTree(run.moe()));
    all.set("optimizer", JSON.valueToTree(run.optimizer()));
    all.set("training", JSON.valueToTree(run.training()));
    all.set(DATA, JSON.valueToTree(run.data()));
    all.set("checkpoint", JSON.valueToTree(run.checkpoint()));
    all.set("logging", JSON.valueToTree(run.logging()));
    all.set("parallel", JSON.valueToTree(run.parallel()));
    if (run.more() != null) {
      all.set(MORE, JSON.valueToTree(run.more()));
    }
    return all;
  }

  /** A configuration in the form of today: one of moe4j 0.1 gets its family's name. */
  public static ObjectNode current(JsonNode configuration) {
    ObjectNode all = configuration.deepCopy();
    if (!all.has(FAMILY)) {
      boolean own = all.get(OWN) instanceof ObjectNode;
      all.put(FAMILY, own ? "txl" : "gpt");
      if (own) {
        all.set(MODEL, all.get(OWN));
        all.remove(DATA);
      }
      all.remove(OWN);
    }
    return all;
  }

  /**
   * The kind of model.
   *
   * @throws IllegalArgumentException where the class path has none of the name, in one sentence
   */
  public static ModelFamily familyOf(JsonNode configuration) {
    return ModelFamilies.named(current(configuration).path(FAMILY).asText());
  }

  /** The model's flags. */
  public static Record modelOf(JsonNode configuration) {
    return part(current(configuration), MODEL, familyOf(configuration).modelFlags());
  }

  /** The experts. */
  public static MoeConfig moeOf(JsonNode configuration) {
    return part(configuration, MOE, MoeConfig.class);
  }

  /** The data flags, a GPT's tokenizer among them. */
  public static Record dataOf(JsonNode configuration) {
    return part(current(configuration), DATA, familyOf(configuration).dataFlags());
  }

  /** Whether it has flags of the data: a Transformer-XL's of moe4j 0.1 has none. */
  public static boolean hasData(JsonNode configuration) {
    return current(configuration).has(DATA);
  }

  /**
   * Flags that only the family's command has.
   *
   * @param name the component of {@link RunConfig#more} that has them
   * @return null where the configuration is without them, as those of moe4j 0.1 are
   */
  static <R extends Record> R moreOf(JsonNode configuration, String name, Class<R> type) {
    JsonNode more = configuration.path(MORE);
    return more.has(name) ? part(more, name, type) : null;
  }

  /** The optimizer and its schedule. */
  public static OptimizerConfig optimizerOf(JsonNode configuration) {
    return part(configuration, "optimizer", OptimizerConfig.class);
  }

  /** How long and in what pieces was trained. */
  public static TrainingConfig trainingOf(JsonNode configuration) {
    return part(configuration, "training", TrainingConfig.class);
  }

  /** The configuration with other experts. */
  public static ObjectNode withMoe(ObjectNode configuration, MoeConfig moe) {
    return configuration.deepCopy().set(MOE, JSON.valueToTree(moe));
  }

  /** A configuration in which nothing is typed, of the same family. */
  public static ObjectNode defaultsLike(RunConfig run) {
    ObjectNode all = JSON.createObjectNode();
    all.set(MODEL, JSON.valueToTree(Flags.defaults(run.model().flags().getClass())));
    all.set(MOE, JSON.valueToTree(Flags.defaults(MoeConfig.class)));
    all.set("optimizer", JSON.valueToTree(Flags.defaults(OptimizerConfig.class)));
    all.set("training", JSON.valueToTree(Flags.defaults(TrainingConfig.class)));
    all.set(DATA, JSON.valueToTree(Flags.defaults(run.data().getClass())));
    return all;
  }

  /** What a configuration says of model, seed and data, by Megatron's names. */
  public static Map<String, String> argumentsOf(JsonNode configuration) {
    Map<String, String> arguments = new TreeMap<>();
    put(arguments, modelOf(configuration));
    arguments.put("seed", String.valueOf(trainingOf(configuration).seed()));
    if (hasData(configuration)) {
      put(arguments, dataOf(configuration));
    }
    return arguments;
  }

  private static void put(Map<String, String> arguments, Record part) {
    Flags.arguments(part).forEach((name, value) -> arguments.put(name, String.valueOf(value)));
  }

  /** Refuses null where a flag always has a value, and in lists. */
  private static void refuseNothing(
      String part, Map.Entry<String, JsonNode> flag, ObjectNode defaults) {
    boolean absent = flag.getValue().isNull() && !defaults.path(flag.getKey()).isNull();
    boolean within =
        flag.getValue().isArray() && flag.getValue().valueStream().anyMatch(JsonNode::isNull);
    if ((absent && defaults.has(flag.getKey())) || within) {
      throw new IllegalArgumentException("%s.%s: it is missing".formatted(part, flag.getKey()));
    }
  }

  /**
   * A record out of a checkpoint, whose version may be another than ours: flags that it had and we
   * do not are passed over, flags that it had not yet are as if not typed.
   */
  private static <R extends Record> R part(JsonNode configuration, String name, Class<R> type) {
    ObjectNode values = JSON.valueToTree(Flags.defaults(type));
    if (configuration.get(name) instanceof ObjectNode saved) {
      saved.properties().forEach(flag -> refuseNothing(name, flag, values));
      values.setAll(saved);
    }
    try {
      return Flags.checked(JSON.treeToValue(values, type));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException(name + ": " + JsonProblem.of(e), e);
    }
  }
}
