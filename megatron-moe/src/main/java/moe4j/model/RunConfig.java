package moe4j.model;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import moe4j.checkpoint.JsonProblem;
import moe4j.config.CheckpointConfig;
import moe4j.config.DataFlags;
import moe4j.config.Faults;
import moe4j.config.Flags;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.LearningRate;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.ParallelConfig;

/**
 * A pretraining run: all its flags, checked against each other before anything is allocated,
 * printed at its start and saved with its checkpoints.
 *
 * @param own flags of the model's that others do not have, or null
 */
public record RunConfig(
    GptConfig model,
    MoeConfig moe,
    OptimizerConfig optimizer,
    TrainingConfig training,
    DataFlags data,
    CheckpointConfig checkpoint,
    LoggingConfig logging,
    ParallelConfig parallel,
    Record own) {

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          // Flags that have become lists had one value before.
          .enable(DeserializationFeature.ACCEPT_SINGLE_VALUE_AS_ARRAY)
          .build();

  /** Checks what no record can check by itself. */
  public RunConfig {
    Faults faults = new Faults();
    if (moe.moeLayerCount(model.numLayers()) > 0) {
      faults.none(() -> moe.expertHiddenSize(model.layerShape()));
    }
    faults.none(() -> schedule(optimizer, training).at(0));
    faults.none(() -> Divisions.check(model, moe, training, parallel));
    faults.refuse();
  }

  private static final List<Class<? extends Record>> PARTS =
      List.of(
          GptConfig.class,
          MoeConfig.class,
          OptimizerConfig.class,
          TrainingConfig.class,
          DataFlags.class,
          CheckpointConfig.class,
          LoggingConfig.class,
          ParallelConfig.class);

  /** The flags of a pretraining command. */
  public static Flags flags() {
    return Flags.of(PARTS).withMegatrons();
  }

  /** The same behind some of a command's own. */
  public static Flags flags(Class<? extends Record> own) {
    List<Class<? extends Record>> types = new ArrayList<>(PARTS);
    types.add(0, own);
    return Flags.of(types).withMegatrons();
  }

  /** A run of one process from its command line. */
  public static RunConfig parse(String... args) {
    return parse(1, args);
  }

  /** A run of so many processes from its command line, which is the same for all of them. */
  public static RunConfig parse(int processes, String... args) {
    return of(flags().parse(args).withoutPositional(), processes);
  }

  /**
   * A run of so many processes from its parsed flags.
   *
   * @throws IllegalArgumentException where it cannot be divided among them: one sentence
   */
  public static RunConfig of(Flags.Parsed parsed, int processes) {
    ParallelConfig parallel = parsed.get(ParallelConfig.class);
    TrainingConfig training = parsed.get(TrainingConfig.class);
    int data = parallel.layout(processes).data();
    if (!parsed.isTyped("global-batch-size")) {
      training = training.withGlobalBatch(training.microBatchSize() * data);
    }
    Divisions.checkBatch(training, data);
    return new RunConfig(
        parsed.get(GptConfig.class),
        parsed.get(MoeConfig.class),
        parsed.get(OptimizerConfig.class),
        training,
        parsed.get(DataFlags.class),
        parsed.get(CheckpointConfig.class),
        parsed.get(LoggingConfig.class),
        parallel,
        null);
  }

  /** The same run, with flags that only its kind of model has. */
  public RunConfig withOwn(Record flags) {
    return new RunConfig(
        model, moe, optimizer, training, data, checkpoint, logging, parallel, flags);
  }

  /** The same run, with CUDA graphs {@code on} or {@code off}. */
  public RunConfig withCudaGraph(String onOrOff) {
    TrainingConfig other = training.toBuilder().cudaGraph(onOrOff).build();
    return new RunConfig(model, moe, optimizer, other, data, checkpoint, logging, parallel, own);
  }

  /** The same run, with another optimizer and schedule. */
  public RunConfig withOptimizer(OptimizerConfig other) {
    return new RunConfig(model, moe, other, training, data, checkpoint, logging, parallel, own);
  }

  private static LearningRate schedule(OptimizerConfig optimizer, TrainingConfig training) {
    return new LearningRate(
        optimizer, training.globalBatchSize(), training.trainIters(), training.trainSamples());
  }

  /** The run's learning-rate schedule. */
  public LearningRate schedule() {
    return schedule(optimizer, training);
  }

  private List<Record> parts() {
    List<Record> parts =
        new ArrayList<>(
            List.of(model, moe, optimizer, training, data, checkpoint, logging, parallel));
    if (own != null) {
      parts.add(own);
    }
    return parts;
  }

  /** Every argument by Megatron's name, sorted, defaults filled in. */
  public Map<String, Object> arguments() {
    Map<String, Object> all = new TreeMap<>();
    parts().forEach(part -> all.putAll(Flags.arguments(part)));
    return all;
  }

  /** Those of them that differ from their flags' defaults. */
  public Map<String, Object> differing() {
    Map<String, Object> all = new TreeMap<>();
    parts().forEach(part -> all.putAll(Flags.differing(part)));
    return all;
  }

  /** The flags that would give this run again. */
  public List<String> commandLine() {
    return parts().stream().flatMap(part -> Flags.commandLine(part).stream()).toList();
  }

  /** The flags of a kind of model out of a checkpoint's configuration. */
  public static <R extends Record> R ownOf(JsonNode configuration, Class<R> type) {
    return part(configuration, "own", type);
  }

  /** As checkpoints keep it: each record under its name. */
  public ObjectNode toJson() {
    return JSON.valueToTree(this);
  }

  /** The model's shape out of a checkpoint's configuration. */
  public static GptConfig modelOf(JsonNode configuration) {
    return part(configuration, "model", GptConfig.class);
  }

  /** The experts out of a checkpoint's configuration. */
  public static MoeConfig moeOf(JsonNode configuration) {
    return part(configuration, "moe", MoeConfig.class);
  }

  /** The optimizer and its schedule, out of a checkpoint's configuration. */
  public static OptimizerConfig optimizerOf(JsonNode configuration) {
    return part(configuration, "optimizer", OptimizerConfig.class);
  }

  /** How long and in what pieces was trained, out of a checkpoint's configuration. */
  public static TrainingConfig trainingOf(JsonNode configuration) {
    return part(configuration, "training", TrainingConfig.class);
  }

  /** A configuration in which nothing is typed, in the form of {@link #toJson}. */
  public static ObjectNode defaultsLike(RunConfig config) {
    ObjectNode all = JSON.createObjectNode();
    all.set("model", JSON.valueToTree(Flags.defaults(GptConfig.class)));
    all.set("moe", JSON.valueToTree(Flags.defaults(MoeConfig.class)));
    all.set("optimizer", JSON.valueToTree(Flags.defaults(OptimizerConfig.class)));
    all.set("training", JSON.valueToTree(Flags.defaults(TrainingConfig.class)));
    all.set("data", JSON.valueToTree(Flags.defaults(DataFlags.class)));
    if (config.own() != null) {
      all.set("own", JSON.valueToTree(Flags.defaults(config.own().getClass())));
    }
    return all;
  }

  /** What a configuration says of the data and of how they are cut, by Megatron's names. */
  public static Map<String, String> argumentsOf(JsonNode configuration) {
    Map<String, String> arguments = new TreeMap<>();
    GptConfig model = modelOf(configuration);
    TrainingConfig training = trainingOf(configuration);
    arguments.put("seq_length", String.valueOf(model.seqLength()));
    arguments.put("seed", String.valueOf(training.seed()));
    Flags.arguments(dataOf(configuration))
        .forEach((name, value) -> arguments.put(name, String.valueOf(value)));
    return arguments;
  }

  /** A checkpoint's configuration with other experts. */
  public static ObjectNode withMoe(ObjectNode configuration, MoeConfig moe) {
    return configuration.deepCopy().set("moe", JSON.valueToTree(moe));
  }

  /** The data flags, the tokenizer's among them, out of a checkpoint's configuration. */
  public static DataFlags dataOf(JsonNode configuration) {
    return part(configuration, "data", DataFlags.class);
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
