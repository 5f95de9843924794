package moe4j.training;

import moe4j.data.MegatronSampler;
import moe4j.data.SampleDataset;
import moe4j.kernels.Scopes;
import moe4j.kernels.Tensors;
import moe4j.transformer.Batch;
import moe4j.transformer.LanguageModel;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The loss on data that is not trained on: no dropout, no gradients, no balance losses. */
public final class Evaluator {
  private Evaluator() {}

  /**
   * The mean loss over the tokens that count.
   *
   * @param first the first sample's number; samples are taken in order
   * @param samples how many, a multiple of {@code rows}
   * @param rows samples at a time
   * @param buffers of that many rows
   */
  public static double loss(
      LanguageModel model,
      SampleDataset dataset,
      long first,
      long samples,
      int rows,
      BatchBuffers buffers) {
    Tensor sum = Scopes.keep(() -> Tensors.zeros(ScalarType.Double, model.parameters().device()));
    Tensor count = Scopes.keep(() -> Tensors.zeros(ScalarType.Double, model.parameters().device()));
    MegatronSampler sampler = new MegatronSampler("evaluation", dataset.size(), first, rows, 0, 1);
    try (NoGradGuard guard = new NoGradGuard();
        BatchLoader loader = new BatchLoader(dataset, sampler, rows)) {
      for (long done = 0; done < samples; done += rows) {
        buffers.load(loader.next());
        Scopes.run(
            () -> {
              Batch batch = buffers.batch();
              Tensor losses = model.loss(batch, Pass.evaluation());
              sum.add_(losses.mul(batch.lossMask()).sum());
              count.add_(batch.lossMask().sum());
            });
      }
      return Tensors.item(sum) / Math.max(1, Tensors.item(count));
    } finally {
      sum.close();
      count.close();
    }
  }
}
