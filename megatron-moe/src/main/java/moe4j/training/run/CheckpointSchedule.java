package moe4j.training.run;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import moe4j.config.Flags;
import moe4j.config.TrainingConfig;
import moe4j.model.RunConfig;
import moe4j.model.RunJson;
import moe4j.optimizer.OptimizerConfig;

/**
 * {@code --use-checkpoint-opt-param-scheduler}: a run that goes on has the learning rate's schedule
 * and the weight decay of the checkpoint's run, and says which flags of its own count for nothing.
 *
 * <p>Schedules are in samples, as Megatron's are. They are written down again in the unit of the
 * run that goes on, so that its own checkpoints hold what it did.
 */
final class CheckpointSchedule {
  private static final String FLAG = "--use-checkpoint-opt-param-scheduler";

  /** What Megatron's scheduler keeps in a checkpoint, and the rest of the same schedule. */
  private static final Set<String> FIELDS =
      Set.of(
          "lr",
          "minLr",
          "lrDecayStyle",
          "lrDecayIters",
          "lrDecaySamples",
          "lrWarmupIters",
          "lrWarmupSamples",
          "lrWarmupFraction",
          "lrWarmupInit",
          "lrWsdDecayStyle",
          "lrWsdDecayIters",
          "lrWsdDecaySamples",
          "weightDecay");

  private CheckpointSchedule() {}

  /** The line that is logged if there is no checkpoint to go on from. */
  static String nothingToTake() {
    return FLAG + ": this run goes on from no checkpoint, and has the schedule of its own flags";
  }

  /**
   * The run with the schedule of a checkpoint's.
   *
   * @param saved the checkpoint's configuration
   * @throws IllegalArgumentException where the schedule is no whole number of the run's iterations:
   *     one sentence
   */
  static RunConfig into(RunConfig config, JsonNode saved) {
    OptimizerConfig before = RunJson.optimizerOf(saved);
    TrainingConfig trained = RunJson.trainingOf(saved);
    TrainingConfig trains = config.training();
    long decay =
        trained.trainIters() == null
            ? either(before.lrDecaySamples(), trained.trainSamples())
            : samples(trained, before.lrDecayIters(), trained.trainIters());
    long warmup =
        trained.trainIters() == null
            ? before.lrWarmupSamples()
            : samples(trained, before.lrWarmupIters(), 0);
    Long last =
        trained.trainIters() == null
            ? before.lrWsdDecaySamples()
            : before.lrWsdDecayIters() == null
                ? null
                : (Long) samples(trained, before.lrWsdDecayIters(), 0);
    boolean iterations = trains.trainIters() != null;
    long run = iterations ? samples(trains, trains.trainIters(), 0) : trains.trainSamples();
    // A schedule as long as the run needs no flag.
    boolean whole = decay == run && !decays(config.optimizer());
    return config.withOptimizer(
        config.optimizer().toBuilder()
            .lr(before.lr())
            .minLr(before.minLr())
            .lrDecayStyle(before.lrDecayStyle())
            .lrDecayIters(
                iterations && !whole ? (Integer) iterations(trains, "decay", decay) : null)
            .lrDecaySamples(iterations || whole ? null : (Long) decay)
            .lrWarmupIters(iterations ? iterations(trains, "warm-up", warmup) : 0)
            .lrWarmupSamples(iterations ? 0 : warmup)
            .lrWarmupFraction(before.lrWarmupFraction())
            .lrWarmupInit(before.lrWarmupInit())
            .lrWsdDecayStyle(before.lrWsdDecayStyle())
            .lrWsdDecayIters(
                iterations && last != null ? (Integer) iterations(trains, "last part", last) : null)
            .lrWsdDecaySamples(iterations ? null : last)
            .weightDecay(before.weightDecay())
            .build());
  }

  private static boolean decays(OptimizerConfig flags) {
    return flags.lrDecayIters() != null || flags.lrDecaySamples() != null;
  }

  private static long either(Long given, long otherwise) {
    return given == null ? otherwise : given;
  }

  private static long samples(TrainingConfig training, Integer given, int otherwise) {
    return (long) training.globalBatchSize() * (given == null ? otherwise : given);
  }

  private static int iterations(TrainingConfig training, String what, long samples) {
    if (samples % training.globalBatchSize() != 0) {
      throw new IllegalArgumentException(
          ("%s: the %s of the checkpoint's schedule has %d samples, which is no multiple of"
                  + " --global-batch-size %d: give the checkpoint's batch size, or --train-samples"
                  + " for --train-iters")
              .formatted(FLAG, what, samples, training.globalBatchSize()));
    }
    return Math.toIntExact(samples / training.globalBatchSize());
  }

  /**
   * What is told: the flags whose values on the command line count for nothing.
   *
   * @param typed the run as its command line has it
   * @param used the run with the checkpoint's schedule
   */
  static String told(RunConfig typed, RunConfig used) {
    Map<String, Object> was = Flags.arguments(typed.optimizer());
    List<String> others = new ArrayList<>();
    Flags.arguments(used.optimizer())
        .forEach(
            (name, value) -> {
              if (!Objects.equals(value, was.get(name))) {
                others.add(
                    "--%s %s instead of %s"
                        .formatted(name.replace('_', '-'), words(value), words(was.get(name))));
              }
            });
    return others.isEmpty()
        ? FLAG + ": the checkpoint's schedule is that of the flags"
        : "%s: the checkpoint's schedule goes on: %s".formatted(FLAG, String.join(", ", others));
  }

  private static String words(Object value) {
    return value == null ? "none" : value.toString();
  }

  /** A checkpoint's configuration with the schedule as the run writes it down. */
  static JsonNode asUsed(JsonNode saved, RunConfig used) {
    ObjectNode same = saved.deepCopy();
    ObjectNode optimizer = same.withObject("/optimizer");
    JsonNode now = used.toJson().get("optimizer");
    FIELDS.forEach(field -> optimizer.set(field, now.get(field)));
    return same;
  }
}
