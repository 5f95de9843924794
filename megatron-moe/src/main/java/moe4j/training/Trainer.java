package moe4j.training;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import moe4j.config.TrainingConfig;
import moe4j.data.MegatronSampler;
import moe4j.data.SampleDataset;
import moe4j.model.Datasets;
import moe4j.model.LanguageModel;
import moe4j.model.RunConfig;
import moe4j.model.TrainState;
import moe4j.model.WholeSets;
import moe4j.moe.Moe;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.LearningRate;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.World;
import moe4j.record.RunEnd;
import moe4j.tensor.Tensors;
import moe4j.training.run.BestModel;
import moe4j.training.step.BatchBuffers;
import moe4j.training.step.BatchLoader;
import moe4j.training.step.DeviceStep;
import moe4j.training.step.Evaluator;
import moe4j.training.step.HostBatch;
import moe4j.training.step.RepeatedWork;
import moe4j.training.step.SkippedSteps;
import moe4j.training.step.StepMetrics;
import moe4j.training.step.StepProfile;
import moe4j.training.step.TrainingListener;
import moe4j.training.step.TrainingListener.EvaluationPart;

/**
 * The training loop: micro-batches in, steps, log lines, evaluations and checkpoints out. A step
 * itself asks the device nothing ({@link DeviceStep}); whether it was skipped the loop learns from
 * {@link SkippedSteps}, on a GPU while the next one is under way.
 */
public final class Trainer implements AutoCloseable {

  /** Saves a run's state under where it stands. */
  @FunctionalInterface
  public interface Saver {
    /**
     * Saves.
     *
     * @return the checkpoint's directory
     */
    String save(TrainState state) throws IOException;
  }

  private final World world;
  private final Group ranks;
  private final Group data;
  private final RunConfig config;
  private final TrainingConfig training;
  private final AdamW optimizer;
  private final LearningRate schedule;
  private final Datasets datasets;
  private final WholeSets wholeSets;
  private final TrainingListener listener;
  private final Saver saver;
  private final BestModel best;
  private final ShutdownSignal signal;
  private final ExitConditions exit;
  private final BatchBuffers buffers;
  private final BatchBuffers evaluationBuffers;
  private final StepMetrics metrics;
  private final DeviceStep deviceStep;
  private final SkippedSteps skips;
  private final Evaluator evaluator;
  private final StepProfile profile;

  private TrainState state;
  private TrainState saved;
  private TrainState evaluated;
  private ExitConditions.Stop stop;
  private int timedSteps;
  private long timedNanos;

  /**
   * A run that is about to go on from {@code state}; of several processes each has one.
   *
   * @param wholeSets how it is evaluated, or null for {@code --eval-iters} batches
   * @param saver saves checkpoints, or null where none are kept
   * @param best keeps the best model, or null
   */
  Trainer(
      World world,
      RunConfig config,
      LanguageModel model,
      AdamW optimizer,
      Datasets datasets,
      WholeSets wholeSets,
      TrainState state,
      TrainingListener listener,
      Saver saver,
      BestModel best,
      ShutdownSignal signal) {
    this.world = world;
    this.ranks = model.parameters().groups().world();
    this.data = model.parameters().groups().data();
    this.config = config;
    this.training = config.training();
    this.optimizer = optimizer;
    this.schedule = config.schedule();
    this.datasets = datasets;
    this.wholeSets = wholeSets;
    this.state = state;
    this.saved = state;
    this.listener = listener;
    this.saver = saver;
    this.best = best;
    this.signal = signal;
    this.exit = new ExitConditions(training, signal::received, System::nanoTime);
    var device = model.parameters().device();
    BatchBuffers.Form form =
        new BatchBuffers.Form(
            device,
            training.microBatchSize(),
            config.model().sequenceLength(),
            config.family().readsPositions(config.data()),
            config.family().readsDocuments(config.data()));
    this.buffers = new BatchBuffers(form);
    this.evaluationBuffers =
        wholeSets == null
            ? buffers
            : new BatchBuffers(
                new BatchBuffers.Form(
                    device,
                    wholeSets.rows(),
                    wholeSets.sequence(),
                    form.positions(),
                    form.documents()));
    if (config.logging().logNumZerosInGrad()) {
      optimizer.countZeros();
    }
    this.metrics = new StepMetrics(device, training.microBatches(), data);
    // Before the step is captured: CUPTI has to know of the graphs' kernels.
    this.profile = StepProfile.of(config.logging(), listener::say);
    this.deviceStep =
        new DeviceStep(
            work(config, model.parameters().groups(), listener::say),
            training,
            model,
            optimizer,
            metrics,
            buffers,
            listener::say);
    this.skips = new SkippedSteps(optimizer.foundInf());
    this.evaluator =
        new Evaluator(
            wholeSets == null ? model : wholeSets.model(),
            evaluationBuffers,
            deviceStep.work(),
            data);
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

  /** Where the run stands. */
  public TrainState state() {
    return state;
  }

  /**
   * Trains until the last step or until told to stop.
   *
   * @throws IOException where a checkpoint could not be saved
   * @throws IllegalArgumentException where the data do not last
   * @throws TrainingDivergedException where a loss or gradient is not finite, unless told to go on
   */
  public RunEnd train() throws IOException {
    datasets.check(config, wholeSets, state);
    // Until now nothing was there that is not in a checkpoint.
    signal.begin(saver != null);
    int steps = training.steps();
    RunEnd end = RunEnd.COMPLETE;
    if (state.iteration() > 0 && state.iteration() >= steps) {
      listener.say(
          "this run is to end at iteration %d and stands at %d: nothing is left to train, and a run with more steps trains on"
              .formatted(steps, state.iteration()));
    }
    listener.begin(state);
    try {
      if (state.evaluationDue() && !evaluate(EvaluationPart.VALIDATION, datasets.valid(), false)) {
        return stopped();
      }
    } catch (DataFailure failure) {
      throw failure.reason;
    }
    if (state.iteration() < steps) {
      MegatronSampler sampler =
          new MegatronSampler(
              "training",
              datasets.train().size(),
              state.consumedTrainSamples(),
              training.microBatchSize(),
              data.rank(),
              data.size());
      try (BatchLoader loader = new BatchLoader(datasets.train(), sampler, buffers.form())) {
        end = loop(loader, steps);
      } catch (DataFailure failure) {
        throw afterSaving(failure.reason);
      }
    }
    reportRest();
    if (!state.equals(saved)) {
      save();
    }
    try {
      return end == RunEnd.COMPLETE && !evaluateAtEnd() ? stopped() : end;
    } catch (DataFailure failure) {
      throw failure.reason;
    }
  }

  /** Whether the evaluations were all made. */
  private boolean evaluateAtEnd() throws IOException {
    if (!evaluate(EvaluationPart.VALIDATION, datasets.valid(), true)) {
      return false;
    }
    if (best != null && datasets.test() != null) {
      long iteration = best.restore(listener::say);
      if (iteration >= 0) {
        listener.say("the test set with the weights of iteration %d".formatted(iteration));
      }
    }
    return evaluate(EvaluationPart.TEST, datasets.test(), true);
  }

  /** Data could not be read, through no fault of the steps before. */
  private static final class DataFailure extends RuntimeException {
    private static final long serialVersionUID = 1;
    private final transient RuntimeException reason;

    DataFailure(RuntimeException reason) {
      super(reason);
      this.reason = reason;
    }
  }

  private static HostBatch read(BatchLoader loader) {
    try {
      return loader.next();
    } catch (RuntimeException e) {
      throw new DataFailure(e);
    }
  }

  /**
   * Keeps what was learnt up to the last whole step. Of several ranks one alone cannot save: the
   * others are within a step, and end when they hear of it.
   */
  private RuntimeException afterSaving(RuntimeException reason) {
    if (!world.isAlone() || state.equals(saved)) {
      return reason;
    }
    try {
      reportRest();
      save();
    } catch (IOException | RuntimeException e) {
      reason.addSuppressed(e);
      listener.say("what was learnt up to then could not be saved: " + e.getMessage());
    }
    return reason;
  }

  /** The status of a process that has come to this end: a signal's, where nothing is kept. */
  int status(RunEnd end) {
    boolean kept = state.equals(saved) && state.iteration() > 0;
    return end == RunEnd.COMPLETE || kept || stop == null ? 0 : stop.status();
  }

  private RunEnd stopped() {
    listener.say("stopping at iteration %d: %s".formatted(state.iteration(), stop.reason()));
    return RunEnd.STOPPED;
  }

  private RunEnd loop(BatchLoader loader, int steps) throws IOException {
    boolean first = true;
    while (state.iteration() < steps) {
      long begin = System.nanoTime();
      step(loader);
      boolean interval =
          state.iteration() % config.logging().logInterval() == 0 || state.iteration() == steps;
      if (interval || first) {
        // The log reads the device, and so does the clock: the time is that of whole steps.
        learnOfSkips(0);
      }
      timedNanos += System.nanoTime() - begin;
      timedSteps++;
      listener.step(state.iteration());
      if (interval || first) {
        report(interval);
      }
      first = false;
      boolean left =
          divides(training.evalInterval())
              && !evaluate(EvaluationPart.VALIDATION, datasets.valid(), false);
      if (divides(config.checkpoint().saveInterval())) {
        save();
      }
      if (!left) {
        stop = exit.reason(state.iteration(), world);
      }
      if (stop != null && (left || state.iteration() < steps)) {
        return stopped();
      }
    }
    return RunEnd.COMPLETE;
  }

  private boolean divides(Integer interval) {
    return interval != null && state.iteration() % interval == 0;
  }

  private void step(BatchLoader loader) {
    profile.beforeStep(state.iteration());
    int microBatches = training.microBatches() / data.size();
    for (int i = 0; i < microBatches; i++) {
      deviceStep.microBatch(read(loader), state.iteration(), i);
    }
    long scheduled = state.scheduledSamples();
    long unlessTaken = scheduled - (long) skips.pending() * training.globalBatchSize();
    deviceStep.update(schedule.at(scheduled), schedule.at(unlessTaken));
    skips.ask();
    state = state.step(training.globalBatchSize());
    profile.afterStep(state.iteration());
    learnOfSkips(skips.lag());
  }

  /** Brings the state up to date but for the last {@code pending} steps. */
  private void learnOfSkips(int pending) {
    while (skips.pending() > pending) {
      int iteration = state.iteration() - skips.pending() + 1;
      if (!skips.take()) {
        continue;
      }
      state = state.skipped(training.globalBatchSize());
      if (!training.noCheckForNanInLossAndGrad()) {
        throw new TrainingDivergedException(
            ("iteration %d: %s; its update was not made"
                    + " (--no-check-for-nan-in-loss-and-grad passes over such iterations)")
                .formatted(iteration, whatIsNotFinite()));
      }
    }
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

  private void report(boolean reset) {
    StepMetrics.Reading reading = metrics.read();
    boolean skipped = Tensors.item(optimizer.foundInf()) != 0;
    listener.interval(
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
                : null));
    timedSteps = 0;
    timedNanos = 0;
    if (reset) {
      metrics.reset();
    }
  }

  /** A run that stops within a log interval records what there is of it. */
  private void reportRest() {
    long begin = System.nanoTime();
    learnOfSkips(0);
    timedNanos += System.nanoTime() - begin;
    if (timedSteps > 0) {
      report(true);
    }
  }

  /**
   * Evaluates, unless a signal comes before that is done: a whole set may take long. What is left
   * is due where the run goes on.
   *
   * @return whether it was done
   */
  private boolean evaluate(EvaluationPart part, SampleDataset dataset, boolean last)
      throws IOException {
    state = state.evaluationDue(false);
    if (dataset == null) {
      return true;
    }
    long samples =
        wholeSets == null
            ? (long) training.evalIters() * training.globalBatchSize()
            : wholeSets.samples(dataset, data.size());
    if (samples == 0) {
      return true;
    }
    boolean validation = part == EvaluationPart.VALIDATION;
    boolean goesOn = wholeSets == null && validation;
    learnOfSkips(0);
    if (wholeSets != null && validation && last && state.equals(evaluated)) {
      // A whole set has one loss as long as the model is the same.
      return true;
    }
    OptionalDouble mean = loss(part, dataset, goesOn ? state.consumedValidSamples() : 0, samples);
    if (mean.isEmpty()) {
      // The evaluations behind the last step are made again by every run that finds it taken.
      state = state.evaluationDue(!last);
      return false;
    }
    double loss = mean.getAsDouble();
    if (goesOn && !last) {
      state = state.validated(samples);
    }
    if (validation) {
      evaluated = state;
    }
    boolean again = validation && last && lastStepWasEvaluated();
    listener.validation(new TrainingListener.Validation(state, part, last, again, loss));
    String kept = best == null || !validation || again ? null : best.offer(state, loss);
    if (kept != null) {
      listener.saved(state, kept);
    }
    return true;
  }

  private boolean isSignalled() {
    stop = exit.signalled(world);
    return stop != null;
  }

  private OptionalDouble loss(
      EvaluationPart part, SampleDataset dataset, long first, long samples) {
    try {
      return evaluator.loss(
          dataset,
          first,
          samples,
          this::isSignalled,
          done -> listener.evaluating(part, done, samples));
    } catch (UncheckedIOException e) {
      // It is made where the run goes on, if the data are whole again by then.
      state = state.evaluationDue(true);
      throw new DataFailure(e);
    }
  }

  /** Whether the last step has its validation loss, of this session or the one before. */
  private boolean lastStepWasEvaluated() {
    return state.iteration() > 0 && divides(training.evalInterval());
  }

  private void save() throws IOException {
    learnOfSkips(0);
    if (saver == null) {
      return;
    }
    try {
      listener.saved(state, saver.save(state));
      saved = state;
    } catch (IOException e) {
      String told = signal.received();
      throw told == null ? e : new UnsavedException(ShutdownSignal.status(told), e);
    }
  }

  @Override
  public void close() {
    // The profile has a table to give, which may fail.
    try (profile) {
      deviceStep.close();
      evaluator.close();
      skips.close();
      buffers.close();
      if (evaluationBuffers != buffers) {
        evaluationBuffers.close();
      }
      metrics.close();
    }
  }
}
