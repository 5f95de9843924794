package moe4j.model;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Supplier;
import moe4j.checkpoint.Checkpoint;
import moe4j.moe.MoeConfig;

/**
 * A run's configuration as a checkpoint keeps it, read with distrust: it may come from anybody.
 * What is wrong in it is one sentence that names the checkpoint, and its numbers of layers and
 * experts are no larger than its tensors allow.
 */
public final class SavedConfig {
  private final Path directory;
  private final ObjectNode configuration;
  private final int tensors;
  private final String typedGate;

  private SavedConfig(Checkpoint checkpoint, String typedGate) {
    this.directory = checkpoint.directory();
    this.configuration = checkpoint.info().configuration();
    this.tensors = checkpoint.manifest().tensors().size();
    this.typedGate = typedGate;
  }

  /**
   * A checkpoint's configuration.
   *
   * @param typedGate this command line's {@code --balance-strategy}, or null: with moe4j's own
   *     gates and those in {@code MOE4J_CLASSPATH} it is the one whose class may be loaded
   */
  public static SavedConfig of(Checkpoint checkpoint, String typedGate) {
    return new SavedConfig(checkpoint, typedGate);
  }

  /** The kind of model. */
  public ModelFamily family() {
    return read(() -> RunJson.familyOf(configuration));
  }

  /** The model. */
  public ModelSpec model() {
    ModelFamily family = family();
    Record flags = read(() -> RunJson.modelOf(configuration));
    checkCount("layers", family.layerShape(flags).layers());
    return new ModelSpec(family, flags, moe());
  }

  /**
   * The model of a checkpoint that is to be of one family.
   *
   * @throws IllegalArgumentException where it is of another, in one sentence
   */
  public ModelSpec model(String family) {
    if (!family().name().equals(family)) {
      throw new IllegalArgumentException(
          "checkpoint %s is a %s's, and no %s's"
              .formatted(directory, family().title(), ModelFamilies.named(family).title()));
    }
    return model();
  }

  private MoeConfig moe() {
    JsonNode gate = configuration.path("moe").path("balanceStrategy");
    String saved = gate.isTextual() ? gate.asText() : null;
    if (!MoeConfig.isGateAllowed(saved, typedGate)) {
      throw new IllegalArgumentException(
          "checkpoint %s names the gate %s, a class that is not moe4j's: it is loaded where --balance-strategy %s says so or where it lies in MOE4J_CLASSPATH"
              .formatted(directory, saved, saved));
    }
    MoeConfig moe = read(() -> RunJson.moeOf(configuration));
    checkCount("experts", moe.numExperts() == null ? 0 : moe.numExperts());
    return moe;
  }

  /**
   * The flags of the data, a GPT's tokenizer among them.
   *
   * @param type the family's record of them
   */
  public <R extends Record> R data(Class<R> type) {
    return type.cast(read(() -> RunJson.dataOf(configuration)));
  }

  /**
   * Flags that only the family's command has.
   *
   * @param name the component of {@link RunConfig#more} that has them
   * @return empty where the checkpoint is without them, as those of moe4j 0.1 are
   */
  public <R extends Record> Optional<R> more(String name, Class<R> type) {
    return Optional.ofNullable(read(() -> RunJson.moreOf(configuration, name, type)));
  }

  /** Each layer and each expert has a tensor of its own at least. */
  private void checkCount(String what, int count) {
    if (count > tensors) {
      throw new IllegalArgumentException(
          "checkpoint %s is of %d %s by its configuration and holds %d tensors: it is corrupt"
              .formatted(directory, count, what, tensors));
    }
  }

  private <T> T read(Supplier<T> part) {
    try {
      return part.get();
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "checkpoint %s has a configuration that cannot be used: %s"
              .formatted(directory, e.getMessage()),
          e);
    }
  }
}
