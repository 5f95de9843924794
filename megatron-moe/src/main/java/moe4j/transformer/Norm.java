package moe4j.transformer;

import moe4j.kernels.Tensors;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019) over the last dimension. */
public final class Norm {
  private final long[] shape;
  private final Tensor weight;
  private final Tensor bias;
  private final double epsilon;

  /** A norm over {@code size} channels, of the configuration's kind. */
  public Norm(TransformerConfig config, ParameterScope parameters, long size) {
    this.shape = new long[] {size};
    this.epsilon = config.normEpsilon();
    this.weight = parameters.gain("weight", size);
    this.bias = config.normalization().equals("LayerNorm") ? parameters.bias("bias", size) : null;
  }

  /** [..., size], in the same type; the statistics are taken in fp32. */
  public Tensor forward(Tensor x) {
    return bias == null
        ? torch.rms_norm(x, shape, Tensors.optional(weight), new DoubleOptional(epsilon))
        : torch.layer_norm(
            x, shape, Tensors.optional(weight), Tensors.optional(bias), epsilon, false);
  }
}
