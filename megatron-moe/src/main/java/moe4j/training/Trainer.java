package moe4j.training;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.OptionalDouble;
import moe4j.config.TrainingConfig;
import moe4j.data.MegatronSampler;
import moe4j.data.SampleDataset;
import moe4j.model.Datasets;
import moe4j.model.LanguageModel;
import moe4j.model.RunConfig;
import moe4j.model.TrainState;
import moe4j.model.WholeSets;
import moe4j.optimizer.AdamW;
import moe4j.parallel.Group;
import moe4j.parallel.World;
import moe4j.record.RunEnd;
import moe4j.training.run.BestModel;
import moe4j.training.step.BatchBuffers;
import moe4j.training.step.BatchLoader;
import moe4j.training.step.Evaluator;
import moe4j.training.step.HostBatch;
import moe4j.training.step.TrainingListener;
import moe4j.training.step.TrainingListener.EvaluationPart;

/**
 * The training loop: micro-batches in, steps, log lines, evaluations and checkpoints out. The steps
 * themselves are {@link StepRunner}'s.
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

  /**
   * What is trained, and on what.
   *
   * @param wholeSets how it is evaluated, or null for {@code --eval-iters} batches
   */
  record Training(LanguageModel model, AdamW optimizer, Datasets datasets, WholeSets wholeSets) {}

  /**
   * What a run keeps.
   *
   * @param saver saves checkpoints, or null where none are kept
   * @param best keeps the best model, or null
   */
  record Kept(Saver saver, BestModel best) {}

  private final World world;
  private final Group data;
  private final RunConfig config;
  private final TrainingConfig training;
  private final Datasets datasets;
  private final WholeSets wholeSets;
  private final TrainingListener listener;
  private final Saver saver;
  private final BestModel best;
  private final ShutdownSignal signal;
  private final ExitConditions exit;
  private final BatchBuffers buffers;
  private final BatchBuffers evaluationBuffers;
  private final StepRunner steps;
  private final Evaluator evaluator;

  private TrainState state;
  private TrainState saved;
  private TrainState evaluated;
  private ExitConditions.Stop stop;

  /** A run that is about to go on from {@code state}; of several processes each has one. */
  Trainer(
      World world,
      RunConfig config,
      Training trained,
      TrainState state,
      TrainingListener listener,
      Kept kept,
      ShutdownSignal signal) {
    LanguageModel model = trained.model();
    this.world = world;
    this.data = model.parameters().groups().data();
    this.config = config;
    this.training = config.training();
    this.datasets = trained.datasets();
    this.wholeSets = trained.wholeSets();
    this.state = state;
    this.saved = state;
    this.listener = listener;
    this.saver = kept.saver();
    this.best = kept.best();
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
    this.steps = new StepRunner(world, config, model, trained.optimizer(), buffers, listener::say);
    this.evaluator =
        new Evaluator(
            wholeSets == null ? model : wholeSets.model(), evaluationBuffers, steps.work(), data);
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
    int last = training.steps();
    RunEnd end = RunEnd.COMPLETE;
    if (state.iteration() > 0 && state.iteration() >= last) {
      listener.say(
          "this run is to end at iteration %d and stands at %d: nothing is left to train, and a run with more steps trains on"
              .formatted(last, state.iteration()));
    }
    listener.begin(state);
    try {
      if (state.evaluationDue() && !evaluate(EvaluationPart.VALIDATION, datasets.valid(), false)) {
        return stopped();
      }
    } catch (DataFailure failure) {
      throw failure.reason;
    }
    if (state.iteration() < last) {
      MegatronSampler sampler =
          new MegatronSampler(
              "training",
              datasets.train().size(),
              state.consumedTrainSamples(),
              training.microBatchSize(),
              data.rank(),
              data.size());
      try (BatchLoader loader = new BatchLoader(datasets.train(), sampler, buffers.form())) {
        end = loop(loader, last);
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

  private RunEnd loop(BatchLoader loader, int last) throws IOException {
    boolean first = true;
    while (state.iteration() < last) {
      long begin = System.nanoTime();
      state = steps.take(() -> read(loader), state);
      boolean interval =
          state.iteration() % config.logging().logInterval() == 0 || state.iteration() == last;
      if (interval || first) {
        // The log reads the device, and so does the clock: the time is that of whole steps.
        state = steps.settled(state);
      }
      steps.timed(1, System.nanoTime() - begin);
      listener.step(state.iteration());
      if (interval || first) {
        listener.interval(steps.interval(state, interval));
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
      if (stop != null && (left || state.iteration() < last)) {
        return stopped();
      }
    }
    return RunEnd.COMPLETE;
  }

  private boolean divides(Integer interval) {
    return interval != null && state.iteration() % interval == 0;
  }

  /** A run that stops within a log interval records what there is of it. */
  private void reportRest() {
    long begin = System.nanoTime();
    state = steps.settled(state);
    steps.timed(0, System.nanoTime() - begin);
    if (steps.hasUnreported()) {
      listener.interval(steps.interval(state, true));
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
    state = steps.settled(state);
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
    state = steps.settled(state);
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
    try {
      steps.close();
    } finally {
      evaluator.close();
      buffers.close();
      if (evaluationBuffers != buffers) {
        evaluationBuffers.close();
      }
    }
  }
}
