package moe4j.kernels.loss;

import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@link CrossEntropy} of logits of which a rank has some columns: the rank's part of each row's
 * sum, and its logits' gradient once the sums of all ranks are known.
 *
 * @param first the first logit's number in the vocabulary
 * @param vocabulary logits of a row, all ranks' together
 */
public record CrossEntropyPart(int first, int vocabulary) {

  /**
   * The logsumexp of the rank's logits, and the label's logit, 0 where it is another rank's. The
   * loss is the logsumexp of the former over the ranks less the sum of the latter.
   *
   * @param logits [T, n], the rank's, any float type; on a GPU bf16 or fp32, and contiguous
   * @param labels int64 [T], each in [0, vocabulary); on a GPU another gives a loss of NaN
   * @return fp32 [T, 2]
   */
  public Tensor sums(Tensor logits, Tensor labels) {
    if (!Kernels.take(logits)) {
      Tensor wide = logits.to(ScalarType.Float);
      Tensor own = own(labels, logits.size(1));
      Tensor at =
          wide.gather(1, own.clamp_min(new Scalar(0)))
              .masked_fill(own.lt(new Scalar(0)), new Scalar(0));
      return torch.cat(new TensorVector(wide.logsumexp(new long[] {1}, true), at), 1);
    }
    Launch.require(labels, "labels", ScalarType.Long, logits.size(0));
    Tensor sums = Tensors.empty(ScalarType.Float, logits.device(), logits.size(0), 2);
    kernel("part_sums", logits)
        .launch(
            logits.size(0),
            CrossEntropy.THREADS,
            0,
            logits,
            labels,
            sums,
            Math.toIntExact(logits.size(1)),
            first,
            vocabulary);
    return sums;
  }

  /**
   * The logits' gradient, {@code (softmax(x) - onehot) upstream}; on a GPU in their own memory.
   *
   * @param logits [T, n], as for {@link #sums}
   * @param labels int64 [T]; on a GPU one outside the vocabulary gives gradients of NaN
   * @param logSums fp32 [T], the logsumexp over all ranks
   * @param upstream fp32 [T]
   * @return [T, n], in the logits' type
   */
  public Tensor gradient(Tensor logits, Tensor labels, Tensor logSums, Tensor upstream) {
    if (!Kernels.take(logits)) {
      Tensor own = own(labels, logits.size(1));
      Tensor gradient = logits.to(ScalarType.Float).sub(logSums.unsqueeze(1)).exp_();
      Tensor ones = own.ge(new Scalar(0)).to(ScalarType.Float).neg();
      gradient.scatter_add_(1, own.clamp_min(new Scalar(0)), ones);
      return gradient.mul_(upstream.unsqueeze(1)).to(Tensors.dtype(logits));
    }
    Launch.require(labels, "labels", ScalarType.Long, logits.size(0));
    Launch.require(logSums, "sums", ScalarType.Float, logits.size(0));
    Launch.require(upstream, "gradients", ScalarType.Float, logits.size(0));
    kernel("part_gradients", logits)
        .launch(
            logits.size(0),
            CrossEntropy.THREADS,
            0,
            logits,
            labels,
            logSums,
            upstream,
            Math.toIntExact(logits.size(1)),
            first,
            vocabulary);
    return logits;
  }

  /** Labels as numbers of the rank's logits, [T, 1]; -1 for those of others. */
  private Tensor own(Tensor labels, long size) {
    Tensor own = labels.sub(new Scalar(first));
    return own.masked_fill(own.ge(new Scalar(size)), new Scalar(-1))
        .clamp_min(new Scalar(-1))
        .unsqueeze(1);
  }

  private static CudaKernel kernel(String function, Tensor logits) {
    return Launch.kernel(
        "loss/cross_entropy.cu",
        function,
        Tensors.dtype(logits),
        "ALIGNED=" + (logits.size(1) % 8 == 0 ? 1 : 0),
        "CACHED=0");
  }
}
