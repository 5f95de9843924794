package moe4j.transformer;

import moe4j.kernels.norm.AddNorm;
import org.bytedeco.pytorch.Tensor;

/** LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019) over the last dimension. */
public final class Norm {
  private final Tensor weight;
  private final Tensor bias;
  private final double epsilon;

  /** What a norm does with its channels. */
  public enum Kind {
    /** Subtracts their mean, divides by their deviation, and learns a gain and a bias. */
    LAYER_NORM,
    /** Divides by their root mean square, and learns a gain. */
    RMS_NORM
  }

  /**
   * What a model's norms are like.
   *
   * @param epsilon is added to the variance or to the mean square
   */
  public record Form(Kind kind, double epsilon) {}

  /** A norm over {@code size} channels. */
  public Norm(Form form, ParameterScope parameters, long size) {
    this.epsilon = form.epsilon();
    this.weight = parameters.gain("weight", size);
    this.bias = form.kind() == Kind.LAYER_NORM ? parameters.bias("bias", size) : null;
  }

  /** [..., size], in the same type; the statistics are taken in fp32. */
  public Tensor forward(Tensor x) {
    return AddNorm.norm(x, weight, bias, epsilon);
  }

  /** Makes the addition that is still to be made, and the norm of the sum. */
  public AddNorm.Result forward(Residual x) {
    return x.delta() == null
        ? new AddNorm.Result(x.stream(), forward(x.stream()))
        : AddNorm.apply(
            x.stream(), x.delta().value(), x.delta().bias(), x.dropout(), weight, bias, epsilon);
  }
}
