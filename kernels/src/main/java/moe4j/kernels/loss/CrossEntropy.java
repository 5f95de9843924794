package moe4j.kernels.loss;

import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.product.Gemm;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The loss of each row of logits, {@code logsumexp(x) - x[label]}, in fp32. Its gradient, {@code
 * (softmax(x) - onehot) g}, is made in the memory of what the forward kept.
 */
public final class CrossEntropy {
  static final int THREADS = 512;

  /**
   * The longest row that is kept in shared memory: two then fit on a multiprocessor of an H100, and
   * one on those that give a block 99 KiB, of which the kernel has 128 bytes itself.
   */
  private static final long CACHED_BYTES = (99 << 10) - 256;

  private CrossEntropy() {}

  /**
   * The loss of each row.
   *
   * @param logits [T, V], any float type
   * @param labels int64 [T], each in [0, V)
   * @return fp32 [T], in nats
   */
  public static Tensor loss(Tensor logits, Tensor labels) {
    return new Loss().apply(logits, labels)[0];
  }

  /**
   * The output layer and the loss of its logits, {@code hidden weight^T}, in the type of both (on a
   * GPU bf16 or fp32). On a GPU their gradient is written over the logits as soon as the loss is
   * known.
   *
   * @param hidden [T, h]
   * @param weight [V, h]
   * @param labels int64 [T], each in [0, V); on a GPU another label gives a loss and gradients of
   *     NaN
   * @return fp32 [T], in nats
   */
  public static Tensor linear(Tensor hidden, Tensor weight, Tensor labels) {
    return Kernels.take(hidden)
        ? new LinearLoss().apply(hidden, weight, labels)[0]
        : loss(Gemm.linear(hidden, weight, null), labels);
  }

  private static final class Loss extends CustomFunction {
    private Tensor logProbabilities;
    private Tensor labels;
    private ScalarType dtype;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      dtype = Tensors.dtype(inputs[0]);
      Tensor column = inputs[1].unsqueeze(1);
      Tensor logs = inputs[0].to(ScalarType.Float).log_softmax(1);
      logProbabilities = save(logs);
      labels = save(column);
      return new Tensor[] {logs.gather(1, column).squeeze(1).neg()};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor g = gradients[0].unsqueeze(1);
      Tensor gradient = logProbabilities.exp_();
      Tensor minusOne = torch.full(labels.shape(), new Scalar(-1.0), gradient.options());
      gradient.scatter_add_(1, labels, minusOne);
      return new Tensor[] {gradient.mul_(g).to(dtype), null};
    }
  }

  /** Keeps the logits' gradient for an upstream gradient of 1: P, [T, V]. */
  private static final class LinearLoss extends CustomFunction {
    private Tensor hidden;
    private Tensor weight;
    private Tensor unscaled;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      hidden = save(inputs[0]);
      weight = save(inputs[1]);
      Tensor logits = Gemm.product(inputs[0], inputs[1], null);
      Tensor loss = Tensors.empty(ScalarType.Float, logits.device(), logits.size(0));
      kernel(logits, inputs[2].contiguous(), loss, isRecorded());
      if (isRecorded()) {
        unscaled = save(logits);
      }
      // The scope's handle would keep the memory beyond the backward.
      logits.close();
      return new Tensor[] {loss};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      // Rows are scaled on the side that has h columns, not V.
      Tensor g = gradients[0].unsqueeze(1);
      Tensor weightGradient = null;
      if (needsGradient(1)) {
        Tensor scaled = torch.empty_like(hidden);
        torch.mul_out(scaled, hidden, g);
        weightGradient = Gemm.weightGradients(unscaled, scaled, weight, false).get(0);
      }
      Tensor hiddenGradient =
          needsGradient(0) ? Gemm.inputGradient(unscaled, weight).mul_(g) : null;
      return new Tensor[] {hiddenGradient, weightGradient, null};
    }

    private static void kernel(Tensor logits, Tensor labels, Tensor loss, boolean gradient) {
      Launch.require(labels, "labels", ScalarType.Long, logits.size(0));
      int vocabulary = Math.toIntExact(logits.size(1));
      boolean aligned = vocabulary % 8 == 0;
      long row = vocabulary * logits.element_size();
      boolean cached = gradient && aligned && row <= CACHED_BYTES;
      Launch.kernel(
              "loss/cross_entropy.cu",
              gradient ? "losses_and_gradients" : "losses",
              Tensors.dtype(logits),
              "ALIGNED=" + (aligned ? 1 : 0),
              "CACHED=" + (cached ? 1 : 0))
          .launch(
              logits.size(0),
              THREADS,
              cached ? Math.toIntExact(row) : 0,
              logits,
              labels,
              loss,
              vocabulary);
    }
  }
}
