package moe4j.training;

import moe4j.data.MegatronSampler;
import moe4j.data.SampleDataset;
import moe4j.kernels.Scopes;
import moe4j.kernels.Tensors;
import moe4j.parallel.Group;
import moe4j.transformer.Batch;
import moe4j.transformer.LanguageModel;
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
  Evaluator(LanguageModel model, BatchBuffers buffers, RepeatedWork work, Group data) {
    this.model = model;
    this.buffers = buffers;
    this.data = data;
    Device device = buffers.form().device();
    this.sum = Scopes.keep(() -> Tensors.zeros(ScalarType.Double, device));
    this.count = Scopes.keep(() -> Tensors.zeros(ScalarType.Double, device));
    this.piece = work.piece("evaluation", () -> Scopes.run(this::batch), () -> {});
  }

  private void batch() {
    try (NoGradGuard guard = new NoGradGuard()) {
      Batch batch = buffers.batch();
      Tensor losses = model.loss(batch, Pass.evaluation());
      sum.add_(losses.mul(batch.lossMask()).sum());
      count.add_(batch.lossMask().sum());
    }
  }

  /**
   * The mean loss over the tokens that count. Data-parallel ranks take turns, a batch each, and all
   * get the same mean.
   *
   * @param first the first sample's number; samples are taken in order
   * @param samples how many, a multiple of the buffers' rows, times the ranks
   */
  public double loss(SampleDataset dataset, long first, long samples) {
    int rows = buffers.form().rows();
    MegatronSampler sampler =
        new MegatronSampler("evaluation", dataset.size(), first, rows, data.rank(), data.size());
    sum.zero_();
    count.zero_();
    try (BatchLoader loader = new BatchLoader(dataset, sampler, buffers.form())) {
      for (long done = 0; done < samples; done += (long) rows * data.size()) {
        buffers.load(loader.next());
        piece.run();
      }
      data.allReduce(sum, Group.Reduction.SUM).await();
      data.allReduce(count, Group.Reduction.SUM).await();
      return Tensors.item(sum) / Math.max(1, Tensors.item(count));
    }
  }

  @Override
  public void close() {
    sum.close();
    count.close();
  }
}
