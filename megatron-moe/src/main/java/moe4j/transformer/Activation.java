package moe4j.transformer;

import moe4j.kernels.activation.BiasGelu;
import moe4j.kernels.activation.BiasSwiGlu;
import moe4j.kernels.activation.ReluDropout;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.experts.ExpertMlp;
import moe4j.kernels.experts.ExpertMlp.Form;
import moe4j.kernels.experts.WeightedActivation;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/** The activation between the two projections of a feed-forward block. */
public enum Activation implements ExpertMlp.Activation {
  /** {@code x Phi(x)}, exact (Hendrycks and Gimpel 2016). */
  GELU(1, Form.GELU) {
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
  SWIGLU(2, Form.SWIGLU) {
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
  },

  /** {@code max(x, 0)}. */
  RELU(1, Form.RELU) {
    @Override
    public Tensor apply(Tensor x, Tensor bias) {
      return apply(x, bias, Dropout.NONE);
    }

    @Override
    public Tensor apply(Tensor x, Tensor bias, Dropout drop) {
      return ReluDropout.apply(x, bias, null, null, drop);
    }

    @Override
    public Tensor weighted(Tensor x, Tensor weight) {
      return ReluDropout.apply(x, null, null, weight, Dropout.NONE);
    }

    @Override
    public Tensor gradient(Tensor gradient, Tensor x) {
      return torch.threshold_backward(gradient, x, ZERO);
    }
  },

  /** {@code max(x, 0)^2} (So et al. 2021). */
  SQUARED_RELU(1, Form.OTHER) {
    @Override
    public Tensor apply(Tensor x, Tensor bias) {
      return torch.relu(plus(x, bias)).square();
    }

    @Override
    public Tensor weighted(Tensor x, Tensor weight) {
      return times(apply(x, null), weight);
    }

    @Override
    public Tensor gradient(Tensor gradient, Tensor x) {
      return torch.relu(x).mul(gradient).mul(TWO);
    }
  };

  private static final Scalar ZERO = Scopes.keep(() -> new Scalar(0));
  private static final Scalar TWO = Scopes.keep(() -> new Scalar(2));

  private final int inputs;
  private final Form form;

  Activation(int inputs, Form form) {
    this.inputs = inputs;
    this.form = form;
  }

  private static Tensor plus(Tensor x, Tensor bias) {
    return bias == null ? x : x.add(bias);
  }

  private static Tensor times(Tensor activated, Tensor weight) {
    return activated.mul(weight.to(Tensors.dtype(activated)).unsqueeze(1));
  }

  /**
   * The activation that a model's flags name, GELU without any.
   *
   * @throws IllegalArgumentException for more than one: one sentence
   */
  public static Activation flagged(boolean swiglu, boolean squaredRelu, boolean relu) {
    if ((swiglu ? 1 : 0) + (squaredRelu ? 1 : 0) + (relu ? 1 : 0) > 1) {
      throw new IllegalArgumentException(
          "--swiglu, --squared-relu and --relu exclude each other: a model has one activation");
    }
    if (swiglu) {
      return SWIGLU;
    }
    return squaredRelu ? SQUARED_RELU : relu ? RELU : GELU;
  }

  /** How many input channels there are for each output channel: 2 for SwiGLU, else 1. */
  public int inputs() {
    return inputs;
  }

  @Override
  public Form form() {
    return form;
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

  /** {@link #apply(Tensor, Tensor)}, and dropout of its result. */
  public Tensor apply(Tensor x, Tensor bias, Dropout drop) {
    return drop.apply(apply(x, bias));
  }

  /**
   * The activation of rows, each multiplied by a weight of its own.
   *
   * @param x [R, inputs f]
   * @param weight [R]
   * @return [R, f], in the type of x
   */
  public abstract Tensor weighted(Tensor x, Tensor weight);
}
