package moe4j.training.step;

import java.util.OptionalDouble;
import java.util.function.BooleanSupplier;
import java.util.function.LongConsumer;
import moe4j.data.MegatronSampler;
import moe4j.data.SampleDataset;
import moe4j.model.LanguageModel;
import moe4j.parallel.Group;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Batch;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The loss on data that is not trained on: no dropout, no gradients, no balance losses. */
public final class Evaluator implements AutoCloseable {
  private final LanguageModel model;
  private final BatchBuffers buffers;
  private final Group data;
  private final RepeatedWork.Piece piece;
  private final Tensor sum;
  private final Tensor count;

  /** An evaluator of a model, in batches of the buffers' form. */
  public Evaluator(LanguageModel model, BatchBuffers buffers) {
    this(model, buffers, RepeatedWork.eager(), Group.alone());
  }

  /**
   * The same as a piece of a run's work.
   *
   * @param data the ranks that take turns
   */
  public Evaluator(LanguageModel model, BatchBuffers buffers, RepeatedWork work, Group data) {
    this.model = model;
    this.buffers = buffers;
    this.data = data;
    Device device = buffers.form().device();
    this.sum = Scopes.keep(() -> Tensors.zeros(ScalarType.Double, device));
    this.count = Scopes.keep(() -> Tensors.zeros(ScalarType.Double, device));
    this.piece = work.piece("evaluation", () -> Scopes.run(() -> add(buffers)), () -> {});
  }

  private void add(BatchBuffers from) {
    try (NoGradGuard guard = new NoGradGuard()) {
      Batch batch = from.batch();
      Tensor losses = model.loss(batch, Pass.evaluation());
      sum.add_(losses.mul(batch.lossMask()).sum());
      count.add_(batch.lossMask().sum());
    }
  }

  /**
   * The mean loss over the tokens that count. Data-parallel ranks take turns, a batch each, and all
   * get the same mean. Samples that fill no batch are a smaller one: a sample weighs the same
   * however many go through the model at once.
   *
   * @param first the first sample's number; samples are taken in order
   * @param samples how many; among several ranks a multiple of the buffers' rows, times the ranks
   */
  public double loss(SampleDataset dataset, long first, long samples) {
    return loss(dataset, first, samples, done -> {});
  }

  /**
   * The same with a word of how far it is.
   *
   * @param progress is told after each batch how many samples are taken, on the host: the device
   *     may still be at them
   */
  public double loss(SampleDataset dataset, long first, long samples, LongConsumer progress) {
    return loss(dataset, first, samples, () -> false, progress).orElseThrow();
  }

  /**
   * The same, unless it is left.
   *
   * @param leave asked before each batch; all ranks are told the same
   * @return the mean, or empty where it was left
   */
  public OptionalDouble loss(
      SampleDataset dataset,
      long first,
      long samples,
      BooleanSupplier leave,
      LongConsumer progress) {
    int rows = buffers.form().rows();
    int rest = (int) (samples % ((long) rows * data.size()));
    if (rest > 0 && !data.isAlone()) {
      throw new IllegalArgumentException(
          "%d samples to evaluate are no multiple of %d for each of %d ranks"
              .formatted(samples, rows, data.size()));
    }
    sum.zero_();
    count.zero_();
    boolean whole =
        addBatches(dataset, first, samples - rest, buffers, piece::run, leave, progress);
    if (whole && rest > 0) {
      try (BatchBuffers fewer = new BatchBuffers(buffers.form().withRows(rest))) {
        long behind = first + samples - rest;
        Runnable add = () -> Scopes.run(() -> add(fewer));
        whole =
            addBatches(
                dataset,
                behind,
                rest,
                fewer,
                add,
                leave,
                done -> progress.accept(samples - rest + done));
      }
    }
    if (!whole) {
      return OptionalDouble.empty();
    }
    data.allReduce(sum, Group.Reduction.SUM).await();
    data.allReduce(count, Group.Reduction.SUM).await();
    return OptionalDouble.of(Tensors.item(sum) / Math.max(1, Tensors.item(count)));
  }

  /** Adds up batches; whether it came to their end. */
  private boolean addBatches(
      SampleDataset dataset,
      long first,
      long samples,
      BatchBuffers into,
      Runnable add,
      BooleanSupplier leave,
      LongConsumer progress) {
    if (samples == 0) {
      return true;
    }
    int rows = into.form().rows();
    MegatronSampler sampler =
        new MegatronSampler("evaluation", dataset.size(), first, rows, data.rank(), data.size());
    try (BatchLoader loader = new BatchLoader(dataset, sampler, into.form())) {
      for (long done = 0; done < samples; done += (long) rows * data.size()) {
        if (leave.getAsBoolean()) {
          return false;
        }
        into.load(loader.next());
        add.run();
        progress.accept(done + (long) rows * data.size());
      }
      return true;
    }
  }

  @Override
  public void close() {
    sum.close();
    count.close();
  }
}
