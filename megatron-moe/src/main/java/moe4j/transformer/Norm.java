package moe4j.transformer;

import moe4j.kernels.norm.AddNorm;
import moe4j.model.gpt.GptConfig;
import org.bytedeco.pytorch.Tensor;

/** LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019) over the last dimension. */
public final class Norm {
  private final Tensor weight;
  private final Tensor bias;
  private final double epsilon;

  /** A norm over {@code size} channels, of the configuration's kind. */
  public Norm(GptConfig config, ParameterScope parameters, long size) {
    this.epsilon = config.normEpsilon();
    this.weight = parameters.gain("weight", size);
    this.bias = config.normalization().equals("LayerNorm") ? parameters.bias("bias", size) : null;
  }

  /** [..., size], in the same type; the statistics are taken in fp32. */
  public Tensor forward(Tensor x) {
    return AddNorm.norm(x, weight, bias, epsilon);
  }

  /** Makes the addition that is still to be made, and the norm of what comes out. */
  public AddNorm.Result forward(Residual x) {
    return x.delta() == null
        ? new AddNorm.Result(x.stream(), forward(x.stream()))
        : AddNorm.apply(
            x.stream(), x.delta().value(), x.delta().bias(), x.dropout(), weight, bias, epsilon);
  }
}
