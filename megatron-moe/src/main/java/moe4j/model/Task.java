package moe4j.model;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import moe4j.config.TrainingConfig;
import moe4j.transformer.ParameterSet;

/**
 * What a run trains: the data, the model, and what is said of them. {@link ModelFamily} makes it.
 */
public interface Task {
  /** The tokenizer's vocabulary, before padding. */
  int vocabulary();

  /** The data, checked to be there. */
  Datasets datasets() throws IOException;

  /**
   * The same for a run that goes on: for what it has consumed, which other flags may have asked
   * for, and what it is still to consume.
   */
  default Datasets datasets(TrainState from) throws IOException {
    return datasets();
  }

  /** The model with its initial weights in {@code parameters}. */
  LanguageModel model(int paddedVocabulary, ParameterSet parameters);

  /**
   * How it is evaluated on whole sets; null for {@code --eval-iters} batches each time.
   *
   * @param model what {@link #model} gave
   */
  default WholeSets wholeSets(LanguageModel model) {
    return null;
  }

  /** Every argument of the run by name, defaults filled in. */
  default Map<String, Object> arguments(RunConfig config) {
    return config.arguments();
  }

  /** Those of them that differ from their flags' defaults. */
  default Map<String, Object> differing(RunConfig config) {
    return config.differing();
  }

  /** The words of the log. */
  default LogLines logLines() {
    return LogLines.megatron();
  }

  /**
   * What has to be as it was where a run goes on from a checkpoint, beside the model: such as data
   * that are not told by a flag of {@link RunConfig}'s, by what a refusal calls them.
   */
  default Map<String, String> lasting() {
    return Map.of();
  }

  /**
   * What a place in the data, a number of consumed samples, means nothing without: the data, how
   * they are cut and in which order they are taken; by the flags that say so.
   */
  default Map<String, String> place() throws IOException {
    return Map.of();
  }

  /**
   * What a checkpoint tells whoever uses its model, beside the model's flags and tensors: such as
   * the bytes that its tokens stand for; by name.
   */
  default Map<String, String> facts() {
    return Map.of();
  }

  /**
   * A flag's name on the command line out of Megatron's argument; null where it has none. By it a
   * run that goes on with another value says so.
   */
  default String flag(String argument) {
    return argument.replace('_', '-');
  }

  /**
   * Which data are taken in another order where a run goes on: a sentence each.
   *
   * @param before the flags of the run that saved the checkpoint
   */
  default List<String> reordered(TrainingConfig before, TrainState from) throws IOException {
    return List.of();
  }
}
