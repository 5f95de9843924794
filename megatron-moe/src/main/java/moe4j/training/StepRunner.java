package moe4j.training;

import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import moe4j.config.TrainingConfig;
import moe4j.model.LanguageModel;
import moe4j.model.RunConfig;
import moe4j.model.TrainState;
import moe4j.moe.Moe;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.LearningRate;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.World;
import moe4j.tensor.Tensors;
import moe4j.training.step.BatchBuffers;
import moe4j.training.step.DeviceStep;
import moe4j.training.step.HostBatch;
import moe4j.training.step.RepeatedWork;
import moe4j.training.step.SkippedSteps;
import moe4j.training.step.StepMetrics;
import moe4j.training.step.StepProfile;
import moe4j.training.step.TrainingListener;

/**
 * Takes a run's steps and keeps their sums and their time for the log. A step itself asks the
 * device nothing ({@link DeviceStep}); whether it was skipped is learnt from {@link SkippedSteps},
 * on a GPU while the next one is under way.
 */
final class StepRunner implements AutoCloseable {
  private final World world;
  private final Group ranks;
  private final RunConfig config;
  private final TrainingConfig training;
  private final AdamW optimizer;
  private final LearningRate schedule;
  private final int microBatches;
  private final StepMetrics metrics;
  private final StepProfile profile;
  private final DeviceStep deviceStep;
  private final SkippedSteps skips;

  private int timedSteps;
  private long timedNanos;

  StepRunner(
      World world,
      RunConfig config,
      LanguageModel model,
      AdamW optimizer,
      BatchBuffers buffers,
      Consumer<String> say) {
    Groups groups = model.parameters().groups();
    this.world = world;
    this.ranks = groups.world();
    this.config = config;
    this.training = config.training();
    this.optimizer = optimizer;
    this.schedule = config.schedule();
    this.microBatches = training.microBatches() / groups.data().size();
    if (config.logging().logNumZerosInGrad()) {
      optimizer.countZeros();
    }
    this.metrics =
        new StepMetrics(model.parameters().device(), training.microBatches(), groups.data());
    // Before the step is captured: CUPTI has to know of the graphs' kernels.
    this.profile = StepProfile.of(config.logging(), say);
    this.deviceStep =
        new DeviceStep(
            work(config, groups, say), training, model, optimizer, metrics, buffers, say);
    this.skips = new SkippedSteps(optimizer.foundInf());
  }

  /** Captured where that is asked for and can be; where it cannot be, it is said why. */
  private static RepeatedWork work(RunConfig config, Groups groups, Consumer<String> say) {
    if (!config.training().capturesGraphs()) {
      return RepeatedWork.eager();
    }
    Optional<String> whyNot =
        groups.isCapturable()
            ? Moe.whyNotCaptured(config.moe(), groups)
            : Optional.of("Gloo takes what it communicates through the host's memory");
    if (whyNot.isEmpty()) {
      return RepeatedWork.captured(say);
    }
    say.accept("--cuda-graph on: going on without CUDA graphs: " + whyNot.get());
    return RepeatedWork.eager();
  }

  /** How the steps' work is repeated; evaluations repeat theirs in the same way. */
  RepeatedWork work() {
    return deviceStep.work();
  }

  /**
   * Takes a step.
   *
   * @param batches gives this rank's micro-batches, one after the other
   * @return where the run stands after it, but for skips that are not known yet
   * @throws TrainingDivergedException where a step before it was skipped, unless told to go on
   */
  TrainState take(Supplier<HostBatch> batches, TrainState before) {
    profile.beforeStep(before.iteration());
    for (int i = 0; i < microBatches; i++) {
      deviceStep.microBatch(batches.get(), before.iteration(), i);
    }
    long scheduled = before.scheduledSamples();
    long unlessTaken = scheduled - (long) skips.pending() * training.globalBatchSize();
    deviceStep.update(schedule.at(scheduled), schedule.at(unlessTaken));
    skips.ask();
    TrainState after = before.step(training.globalBatchSize());
    profile.afterStep(after.iteration());
    return learnOfSkips(after, skips.lag());
  }

  /** Waits for all steps and says where the run stands. */
  TrainState settled(TrainState state) {
    return learnOfSkips(state, 0);
  }

  /** Brings the state up to date but for the last {@code pending} steps. */
  private TrainState learnOfSkips(TrainState state, int pending) {
    TrainState known = state;
    while (skips.pending() > pending) {
      int iteration = known.iteration() - skips.pending() + 1;
      if (!skips.take()) {
        continue;
      }
      known = known.skipped(training.globalBatchSize());
      if (!training.noCheckForNanInLossAndGrad()) {
        throw new TrainingDivergedException(
            ("iteration %d: %s; its update was not made"
                    + " (--no-check-for-nan-in-loss-and-grad passes over such iterations)")
                .formatted(iteration, whatIsNotFinite()));
      }
    }
    return known;
  }

  /**
   * What was not finite in the last step that was skipped, and on which of several ranks. A loss
   * comes first: its NaN is in the gradients of other ranks' experts, too.
   */
  private String whatIsNotFinite() {
    List<Integer> losses = metrics.nonFiniteLossRanks(ranks);
    return losses.isEmpty()
        ? "a gradient is not finite" + on(optimizer.nonFiniteRanks())
        : "the loss is not finite" + on(losses);
  }

  private String on(List<Integer> those) {
    if (world.isAlone() || those.isEmpty()) {
      return "";
    }
    return (those.size() == 1 ? " on rank " : " on ranks ")
        + those.stream().map(String::valueOf).collect(Collectors.joining(", "));
  }

  /** Adds to the time of the steps that the next interval is of. */
  void timed(int steps, long nanos) {
    timedSteps += steps;
    timedNanos += nanos;
  }

  /** Whether there are steps that no interval was of. */
  boolean hasUnreported() {
    return timedSteps > 0;
  }

  /**
   * The stretch of steps since the last one.
   *
   * @param reset whether the sums begin anew after it
   */
  TrainingListener.Interval interval(TrainState state, boolean reset) {
    StepMetrics.Reading reading = metrics.read();
    boolean skipped = Tensors.item(optimizer.foundInf()) != 0;
    TrainingListener.Interval interval =
        new TrainingListener.Interval(
            state,
            reading,
            timedSteps,
            timedNanos / 1e9,
            schedule.at(state.scheduledSamples()),
            skipped ? null : Tensors.item(optimizer.gradientNorm()),
            config.logging().logParamsNorm() ? optimizer.parametersNorm() : null,
            config.logging().logNumZerosInGrad()
                ? (long) Tensors.item(optimizer.gradientZeros())
                : null);
    timedSteps = 0;
    timedNanos = 0;
    if (reset) {
      metrics.reset();
    }
    return interval;
  }

  @Override
  public void close() {
    // The profile has a table to give, which may fail.
    try (profile) {
      deviceStep.close();
      skips.close();
      metrics.close();
    }
  }
}
