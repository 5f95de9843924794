package moe4j.moe.bench;

import moe4j.transformer.Activation;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * A two-layer MLP in libtorch's operations alone, as a user of PyTorch writes it.
 *
 * @param weights of one expert
 */
record PlainMlp(LayerWeights weights, Activation activation) {

  /** [R, h] to [R, h], with dropout between the layers. */
  Tensor apply(Tensor x, double dropout) {
    Tensor inner = inner(x);
    return outer(dropout == 0 ? inner : torch.dropout(inner, dropout, true));
  }

  /**
   * The same with dropout that was drawn beforehand.
   *
   * @param factors [R, f], or null
   */
  Tensor apply(Tensor x, Tensor factors) {
    Tensor inner = inner(x);
    return outer(factors == null ? inner : inner.mul(factors));
  }

  private Tensor inner(Tensor x) {
    return activation(activation, sum(x.mm(weights.fc1().t()), weights.bias1()));
  }

  private Tensor outer(Tensor inner) {
    return sum(inner.mm(weights.fc2().t()), weights.bias2());
  }

  private static Tensor sum(Tensor product, Tensor bias) {
    return bias == null ? product : product.add(bias);
  }

  /** An activation in libtorch's operations. */
  static Tensor activation(Activation activation, Tensor x) {
    return switch (activation) {
      case GELU -> torch.gelu(x);
      case SWIGLU -> {
        TensorVector halves = x.chunk(2, -1);
        yield torch.silu(halves.get(0)).mul(halves.get(1));
      }
      case RELU -> torch.relu(x);
      case SQUARED_RELU -> torch.relu(x).pow(new Scalar(2));
    };
  }
}
