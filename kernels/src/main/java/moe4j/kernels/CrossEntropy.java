package moe4j.kernels;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The loss of each row of logits, {@code logsumexp(x) - x[label]}, in fp32. The backward makes the
 * gradient, {@code (softmax(x) - onehot) g}, in the memory of what the forward kept.
 */
public final class CrossEntropy {
  private CrossEntropy() {}

  /**
   * The loss of each row.
   *
   * @param logits [T, V]
   * @param labels int64 [T], each in [0, V)
   * @return fp32 [T]
   */
  public static Tensor loss(Tensor logits, Tensor labels) {
    return new Loss().apply(logits, labels)[0];
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
}
