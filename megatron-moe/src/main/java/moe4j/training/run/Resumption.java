package moe4j.training.run;

import java.io.IOException;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Ranks;
import moe4j.checkpoint.Section;
import moe4j.config.CheckpointConfig;
import moe4j.model.ModelState;
import moe4j.model.RunConfig;
import moe4j.model.RunJson;
import moe4j.model.Task;
import moe4j.model.TrainState;
import moe4j.optimizer.AdamW;
import moe4j.transformer.ParameterSet;

/**
 * Where a run begins: at nothing, or at the latest checkpoint, which is found and compared with the
 * run before anything is made of that size, and loaded when there is something to load it into.
 */
public final class Resumption implements AutoCloseable {
  private final Checkpoint checkpoint;
  private final boolean weightsOnly;
  private final TrainState from;
  private final RunConfig config;

  private Resumption(
      Checkpoint checkpoint, boolean weightsOnly, TrainState from, RunConfig config) {
    this.config = config;
    this.checkpoint = checkpoint;
    this.weightsOnly = weightsOnly;
    this.from = from;
  }

  /**
   * Finds the latest checkpoint, where there is one.
   *
   * @param directory {@code --load}, or {@code --save} where the run is taken up again; or null
   * @param again whether it is taken up again, whatever else the flags say of {@code --load}
   * @param task says what has to be as it was
   * @param say takes a line for each broken checkpoint and for each flag that has changed
   * @throws IOException where there are checkpoints and none can be used, or one is asked for and
   *     does not exist
   * @throws IllegalArgumentException where the checkpoint is of another model, or its place in the
   *     data means nothing in the run's: one sentence
   */
  public static Resumption find(
      RunConfig config,
      String directory,
      boolean again,
      Ranks ranks,
      Task task,
      Consumer<String> say)
      throws IOException {
    CheckpointConfig flags = config.checkpoint();
    if (directory == null) {
      return start(config, say);
    }
    boolean weightsOnly = !again && (flags.finetune() || flags.noLoadOptim());
    Set<Section> sections = weightsOnly ? EnumSet.of(Section.MODEL) : EnumSet.allOf(Section.class);
    Optional<Checkpoint> found =
        new CheckpointStore(Path.of(directory), -1, ranks).loadLatest(sections, say);
    if (found.isEmpty()) {
      if (flags.exitOnMissingCheckpoint() || flags.finetune()) {
        throw new IOException("--load %s holds no checkpoint".formatted(directory));
      }
      say.accept(
          "WARNING: --load %s holds no checkpoint: starting from nothing".formatted(directory));
      return start(config, say);
    }
    Checkpoint checkpoint = found.get();
    try {
      RunCheckpoints.check(checkpoint, config);
      boolean anew = !again && flags.finetune();
      if (anew) {
        tellOwnSchedule(config, say);
        return new Resumption(checkpoint, weightsOnly, TrainState.start(), config);
      }
      TrainState from = RunCheckpoints.stateOf(checkpoint);
      return new Resumption(
          checkpoint, weightsOnly, from, goOn(checkpoint, config, from, task, say));
    } catch (IOException | RuntimeException e) {
      checkpoint.close();
      throw e;
    }
  }

  private static Resumption start(RunConfig config, Consumer<String> say) {
    tellOwnSchedule(config, say);
    return new Resumption(null, false, TrainState.start(), config);
  }

  private static void tellOwnSchedule(RunConfig config, Consumer<String> say) {
    if (config.checkpoint().useCheckpointOptParamScheduler()) {
      say.accept(CheckpointSchedule.nothingToTake());
    }
  }

  /** Compares the checkpoint's run with this one, which it gives as it goes on. */
  private static RunConfig goOn(
      Checkpoint checkpoint, RunConfig config, TrainState from, Task task, Consumer<String> say)
      throws IOException {
    RunCheckpoints.checkLasting(checkpoint, task.lasting());
    Map<String, String> place = task.place();
    List<String> elsewhere = RunCheckpoints.elsewhere(checkpoint, config, place);
    if (!elsewhere.isEmpty() && !config.checkpoint().overrideData()) {
      throw new IllegalArgumentException(
          ("checkpoint %s %s: its place in the data means nothing here; give what it had, or"
                  + " --override-data to go on at that place all the same")
              .formatted(checkpoint.directory(), elsewhere.get(0)));
    }
    var saved = RunJson.current(checkpoint.info().configuration());
    boolean schedule = config.checkpoint().useCheckpointOptParamScheduler();
    RunConfig used = schedule ? CheckpointSchedule.into(config, saved) : config;
    if (schedule) {
      say.accept(CheckpointSchedule.told(config, used));
    }
    List<String> lines =
        Differences.of(
            schedule ? CheckpointSchedule.asUsed(saved, used) : saved,
            RunJson.defaultsLike(config),
            used.toJson(),
            task::flag);
    lines.forEach(say);
    elsewhere.forEach(line -> say.accept("--override-data: the checkpoint %s".formatted(line)));
    if (elsewhere.isEmpty() && !lines.isEmpty()) {
      task.reordered(RunJson.trainingOf(saved), from).forEach(say);
    }
    return used;
  }

  /** The run's flags, in which what it takes over from the checkpoint's run stands. */
  public RunConfig config() {
    return config;
  }

  /** Where the run stands. */
  public TrainState from() {
    return from;
  }

  /** Loads it into a run's model and optimizer: each rank its part. */
  public void load(ParameterSet parameters, AdamW optimizer, Consumer<String> say)
      throws IOException {
    if (checkpoint == null) {
      return;
    }
    RunCheckpoints.checkVocabulary(checkpoint, config, parameters);
    ModelState.loadModel(checkpoint, parameters);
    if (weightsOnly) {
      ModelState.resetMasters(optimizer);
    } else if (checkpoint.contains(ModelState.STEP)) {
      ModelState.loadOptimizer(checkpoint, optimizer);
    } else {
      throw new IOException(
          "checkpoint %s holds no optimizer state: %s"
              .formatted(
                  checkpoint.directory(),
                  config.family().words().directory().weights() == null
                      ? "no run goes on from it"
                      : "--no-load-optim goes on without it"));
    }
    say.accept(
        "loaded checkpoint %s of iteration %d"
            .formatted(checkpoint.directory(), checkpoint.info().iteration()));
  }

  @Override
  public void close() throws IOException {
    if (checkpoint != null) {
      checkpoint.close();
    }
  }
}
