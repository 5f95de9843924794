package moe4j.training.step;

import java.util.function.Consumer;
import moe4j.config.TrainingConfig;
import moe4j.kernels.attention.AttentionBackend;
import moe4j.model.LanguageModel;
import moe4j.optimizer.AdamW;
import moe4j.parallel.Groups;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A training step as the device sees it: micro-steps (forward, backward, add) and an update (norm,
 * clip, AdamW, sums for the log). Nothing in either asks the device a question, so on a GPU each is
 * a CUDA graph; what differs from step to step (batch, learning rate, the place that random numbers
 * are keyed by) is on the device before.
 *
 * <p>Where gradients are summed over ranks while the backward goes on, a step's last micro-step is
 * another piece of work than those before it, and a graph of its own; so is its first one where
 * micro-batches' gradients are added up beside the parameters.
 */
public final class DeviceStep implements AutoCloseable {
  private final TrainingConfig training;
  private final Groups groups;
  private final LanguageModel model;
  private final AdamW optimizer;
  private final StepMetrics metrics;
  private final BatchBuffers buffers;
  private final RepeatedWork work;
  private final int microBatches;
  private final RepeatedWork.Piece firstMicroStep;
  private final RepeatedWork.Piece microStep;
  private final RepeatedWork.Piece lastMicroStep;
  private final RepeatedWork.Piece update;
  private final Tensor place;
  private final Consumer<String> say;
  private boolean sayAttention = true;
  private StepRandom random;

  /**
   * A step of a model, its sums going to {@code metrics}.
   *
   * @param work captured, or done as it is
   */
  public DeviceStep(
      RepeatedWork work,
      TrainingConfig training,
      LanguageModel model,
      AdamW optimizer,
      StepMetrics metrics,
      BatchBuffers buffers,
      Consumer<String> say) {
    this.training = training;
    this.groups = model.parameters().groups();
    this.model = model;
    this.optimizer = optimizer;
    this.metrics = metrics;
    this.buffers = buffers;
    this.say = say;
    Device device = buffers.form().device();
    this.work = work;
    this.microBatches = training.microBatches() / groups.data().size();
    boolean many = microBatches > 1;
    boolean lastDiffers = optimizer.lastMicroBatchDiffers();
    boolean firstDiffers = optimizer.firstMicroBatchDiffers();
    String last = lastDiffers ? "last micro-step" : "micro-step";
    this.lastMicroStep = microStep(last, !many, true);
    this.microStep = lastDiffers && many ? microStep("micro-step", false, false) : lastMicroStep;
    this.firstMicroStep =
        firstDiffers && many ? microStep("first micro-step", true, false) : microStep;
    this.update = work.piece("update", this::updateAndSum, () -> {});
    this.place =
        device.is_cuda() ? Scopes.keep(() -> Tensors.zeros(ScalarType.Long, device, 2)) : null;
  }

  private RepeatedWork.Piece microStep(String name, boolean first, boolean last) {
    return work.piece(name, () -> Scopes.run(() -> microStep(first, last)), this::abandon);
  }

  private RepeatedWork.Piece piece(int index) {
    if (index == microBatches - 1) {
      return lastMicroStep;
    }
    return index == 0 ? firstMicroStep : microStep;
  }

  /** The work that evaluations may share the memory of. */
  public RepeatedWork work() {
    return work;
  }

  /**
   * Takes a micro-batch.
   *
   * @param step the step's number, from 0
   * @param index the micro-batch's, within this rank's of the step
   */
  public void microBatch(HostBatch host, int step, int index) {
    buffers.load(host);
    long rows = training.microBatchSize();
    // The sampler gives a micro-batch to each data-parallel rank in turn.
    long first = (index * (long) groups.data().size() + groups.data().rank()) * rows;
    if (place == null) {
      random = new StepRandom(training.seed(), step, first, rows);
    } else {
      Scopes.run(
          () -> {
            place.select(0, 0).fill_(new Scalar((long) step));
            place.select(0, 1).fill_(new Scalar(first));
          });
      random = StepRandom.onDevice(training.seed(), place, rows);
    }
    piece(index).run();
    metrics.countMicroBatch();
  }

  private void microStep(boolean first, boolean last) {
    optimizer.beforeForward(first);
    Pass pass = Pass.training(random);
    Tensor losses = model.loss(buffers.batch(), pass);
    Tensor sum = losses.mul(buffers.batch().lossMask()).sum();
    Tensor tokens = buffers.batch().lossMask().sum();
    Tensor total = pass.total(sum.div(tokens.clamp_min(new Scalar(1.0))));
    optimizer.beforeBackward(last);
    total.mul(new Scalar(1.0 / training.microBatches())).backward();
    CustomFunction.settle();
    optimizer.accumulate();
    metrics.addMicroBatch(sum, tokens, pass);
  }

  /** Lets go of what a micro-step has left that was captured in part and not computed. */
  private void abandon() {
    CustomFunction.settle();
    optimizer.abandonMicroBatch();
  }

  /**
   * Ends the step.
   *
   * @param rate the learning rate if the step before was taken
   * @param rateIfSkipped the same if it was skipped, where the host does not know yet
   */
  public void update(double rate, double rateIfSkipped) {
    optimizer.setLearningRates(rate, rateIfSkipped);
    if (!update.captured()) {
      optimizer.bindGradients();
    }
    update.run();
    work.settle();
    if (sayAttention && place != null) {
      sayAttention = false;
      AttentionBackend.chosen()
          .forEach((shape, kernel) -> say.accept("attention %s: %s".formatted(shape, kernel)));
    }
    if (!lastMicroStep.captured()) {
      optimizer.forgetGradients();
    }
  }

  private void updateAndSum() {
    optimizer.update();
    metrics.endStep(optimizer.foundInf());
  }

  @Override
  public void close() {
    work.close();
    optimizer.forgetGradients();
    if (place != null) {
      place.close();
    }
  }
}
