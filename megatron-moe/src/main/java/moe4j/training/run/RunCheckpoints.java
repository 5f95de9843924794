package moe4j.training.run;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointInfo;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.TensorSource;
import moe4j.config.BuildInfo;
import moe4j.config.Flags;
import moe4j.model.ModelSpec;
import moe4j.model.ModelState;
import moe4j.model.RunConfig;
import moe4j.model.RunJson;
import moe4j.model.RunNotes;
import moe4j.model.SavedConfig;
import moe4j.model.Task;
import moe4j.model.TrainState;
import moe4j.optimizer.AdamW;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;

/** A run's checkpoints: what goes into one, and whether one fits the run. */
public final class RunCheckpoints {
  /** Arguments of the experts that may differ between a checkpoint and the model that loads it. */
  private static final Set<String> FREE =
      Set.of(
          "moe_router_load_balancing_type",
          "moe_aux_loss_coeff",
          "moe_z_loss_coeff",
          "moe_router_bias_update_rate",
          "moe_input_jitter_eps",
          "moe_router_force_load_balancing",
          "moe_expert_capacity_factor",
          "moe_pad_expert_input_to_capacity",
          "moe_token_drop_policy",
          "moe_token_dispatcher_type",
          "moe_a2a_overlap_degree",
          "moe_grouped_products",
          "moe_shared_expert_overlap",
          "balance_loss_weight");

  private RunCheckpoints() {}

  /** {@link TrainState#evaluationDue}, in a checkpoint's extras. */
  private static final String EVALUATION_DUE = "evaluation_due";

  /**
   * Saves a run: each rank its part.
   *
   * @param task tells what the checkpoint says beside them
   */
  public static String save(
      RunConfig config,
      CheckpointStore store,
      TrainState state,
      ParameterSet parameters,
      AdamW optimizer,
      Task task)
      throws IOException {
    ObjectNode extra = JsonNodeFactory.instance.objectNode();
    if (state.evaluationDue()) {
      extra.put(EVALUATION_DUE, true);
    }
    RunNotes.LASTING.put(task.lasting(), extra);
    RunNotes.PLACE.put(task.place(), extra);
    RunNotes.FACTS.put(task.facts(), extra);
    return save(
        config,
        store,
        state,
        parameters,
        config.checkpoint().noSaveOptim() ? List.of() : ModelState.optimizer(optimizer),
        extra);
  }

  /** The same with what a caller has to keep beside the model. */
  static String save(
      RunConfig config,
      CheckpointStore store,
      TrainState state,
      ParameterSet parameters,
      List<TensorSource> optimizer,
      ObjectNode extra)
      throws IOException {
    CheckpointInfo info =
        new CheckpointInfo(
            state.iteration(),
            state.consumedTrainSamples(),
            state.consumedValidSamples(),
            state.skippedSamples(),
            config.training().seed(),
            // Everything random is a function of the seed and of the counts above.
            Map.of("step_random", "philox4x32-10 seed=" + config.training().seed()),
            config.toJson(),
            BuildInfo.commit(),
            BuildInfo.version(),
            extra);
    // Experts are saved as views, one each.
    try (PointerScope scope = new PointerScope()) {
      return store.save(info, ModelState.model(parameters), optimizer).toString();
    }
  }

  /** Where the run stood that saved a checkpoint. */
  static TrainState stateOf(Checkpoint checkpoint) {
    CheckpointInfo info = checkpoint.info();
    return new TrainState(
        Math.toIntExact(info.iteration()),
        info.consumedTrainSamples(),
        info.consumedValidSamples(),
        info.skippedTrainSamples(),
        info.extra().path(EVALUATION_DUE).asBoolean());
  }

  /**
   * What a checkpoint's place in the data does not mean here what it meant there: of {@link
   * Task#place}, a sentence's end each.
   *
   * @param place the run's; what the checkpoint does not tell of, its flags do
   */
  static List<String> elsewhere(
      Checkpoint checkpoint, RunConfig config, Map<String, String> place) {
    Map<String, String> saved = RunNotes.PLACE.of(checkpoint.info());
    var before = RunJson.argumentsOf(checkpoint.info().configuration());
    var now = RunJson.argumentsOf(config.toJson());
    List<String> lines = new ArrayList<>();
    place.forEach(
        (name, value) -> {
          String argument = name.replaceFirst("^--", "").replace('-', '_');
          boolean told = saved.containsKey(name);
          String was = told ? saved.get(name) : before.get(argument);
          String is = told ? value : now.get(argument);
          if (was != null && !was.equals(is)) {
            lines.add("is of a run with %s %s, and this one has %s".formatted(name, was, is));
          }
        });
    return lines;
  }

  /** Refuses a checkpoint of another model. */
  static void check(Checkpoint checkpoint, RunConfig config) {
    ModelSpec wanted = config.model();
    ModelSpec saved =
        SavedConfig.of(checkpoint, config.moe().balanceStrategy()).model(wanted.family().name());
    compare(
        checkpoint,
        Flags.arguments(saved.flags()),
        Flags.arguments(wanted.flags()),
        wanted.family().mayDiffer(wanted.flags()));
    compare(checkpoint, Flags.arguments(saved.moe()), Flags.arguments(wanted.moe()), FREE);
  }

  /** Refuses a checkpoint of a run that lacked what this one was to keep. */
  static void checkLasting(Checkpoint checkpoint, Map<String, String> lasting) {
    Map<String, String> saved = RunNotes.LASTING.of(checkpoint.info());
    lasting.forEach(
        (name, value) -> {
          if (saved.containsKey(name) && !saved.get(name).equals(value)) {
            throw new IllegalArgumentException(
                "checkpoint %s is of a run with %s %s, and this one has %s"
                    .formatted(checkpoint.directory(), name, saved.get(name), value));
          }
        });
  }

  /** The word embedding's rows follow the tokenizer, which no flag of the model's tells. */
  static void checkVocabulary(Checkpoint checkpoint, RunConfig config, ParameterSet parameters)
      throws IOException {
    String embedding = config.family().vocabularyParameter();
    for (Parameter parameter : parameters.all()) {
      if (parameter.name().equals(embedding)) {
        long saved = checkpoint.tensor(parameter.name()).shape().get(0);
        long wanted = parameter.globalShape().get(0);
        if (saved != wanted) {
          throw new IllegalArgumentException(
              ("checkpoint %s has word embeddings for a padded vocabulary of %d, and this one is"
                      + " of %d (--tokenizer-type, --vocab-size, --make-vocab-size-divisible-by)")
                  .formatted(checkpoint.directory(), saved, wanted));
        }
      }
    }
  }

  private static void compare(
      Checkpoint checkpoint,
      Map<String, Object> saved,
      Map<String, Object> wanted,
      Set<String> free) {
    wanted.forEach(
        (name, value) -> {
          if (!free.contains(name) && !Objects.equals(value, saved.get(name))) {
            throw new IllegalArgumentException(
                "checkpoint %s was made %s, and this model is made %s"
                    .formatted(
                        checkpoint.directory(), flag(name, saved.get(name)), flag(name, value)));
          }
        });
  }

  private static String flag(String name, Object value) {
    String flag = "--" + name.replace('_', '-');
    if (value == null || value.equals(false)) {
      return "without " + flag;
    }
    return "with " + flag + (value.equals(true) ? "" : " " + value);
  }
}
