package moe4j.transformer;

import moe4j.kernels.BiasGelu;
import moe4j.kernels.BiasSwiGlu;
import moe4j.kernels.ExpertMlp;
import moe4j.kernels.WeightedActivation;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/** What stands between the two projections of a feed-forward block. */
public enum Activation implements ExpertMlp.Activation {
  /** {@code x Phi(x)}, exact (Hendrycks and Gimpel 2016). */
  GELU(1) {
    @Override
    public Tensor apply(Tensor x, Tensor bias) {
      return BiasGelu.apply(x, bias);
    }

    @Override
    public Tensor weighted(Tensor x, Tensor weight) {
      return WeightedActivation.gelu(x, weight);
    }

    @Override
    public Tensor gradient(Tensor gradient, Tensor x) {
      return torch.gelu_backward(gradient, x);
    }
  },

  /** {@code silu(a) b} with x = [a, b] along the last dimension (Shazeer 2020). */
  SWIGLU(2) {
    @Override
    public Tensor apply(Tensor x, Tensor bias) {
      return BiasSwiGlu.apply(x, bias);
    }

    @Override
    public Tensor weighted(Tensor x, Tensor weight) {
      return WeightedActivation.swiglu(x, weight);
    }

    @Override
    public Tensor gradient(Tensor gradient, Tensor x) {
      TensorVector halves = x.chunk(2, -1);
      Tensor gate = halves.get(0);
      Tensor first = torch.silu_backward(gradient.mul(halves.get(1)), gate);
      return torch.cat(new TensorVector(first, torch.silu(gate).mul(gradient)), -1);
    }
  };

  private final int inputs;

  Activation(int inputs) {
    this.inputs = inputs;
  }

  /** The configuration's. */
  public static Activation of(TransformerConfig config) {
    return config.swiglu() ? SWIGLU : GELU;
  }

  /** Channels it takes for each it gives. */
  public int inputs() {
    return inputs;
  }

  /** [..., inputs f] to [..., f]. */
  @Override
  public Tensor apply(Tensor x) {
    return apply(x, null);
  }

  /**
   * The activation of {@code x + bias}.
   *
   * @param x [..., inputs f]
   * @param bias [inputs f], or null
   * @return [..., f]
   */
  public abstract Tensor apply(Tensor x, Tensor bias);

  /** {@link #apply} to [R, inputs f], each row times its weight, [R]. */
  public abstract Tensor weighted(Tensor x, Tensor weight);
}
