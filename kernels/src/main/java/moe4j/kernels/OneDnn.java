package moe4j.kernels;

import org.bytedeco.pytorch.GenericList;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * fp32 matrix products through oneDNN. libtorch sends them to OpenBLAS, whose threads are its own:
 * they go on spinning after each product and take the cores from libtorch's OpenMP threads, which
 * makes everything between products twice as slow. oneDNN's products run on the OpenMP threads.
 */
final class OneDnn {
  private static final boolean AVAILABLE = torch.hasMKLDNN() && hasLinear();

  private OneDnn() {}

  /** What the operator takes beside tensors; looked up once. */
  private static final class Linear {
    static final BoxedOp OP = BoxedOp.find("mkldnn::_linear_pointwise", "");
    static final IValue NO_ACTIVATION = Scopes.keep(() -> new IValue("none"));
    static final IValue NO_SCALARS =
        Scopes.keep(() -> new IValue(new GenericList(OP.elementType(4))));
    static final IValue NO_ALGORITHM = Scopes.keep(() -> new IValue(""));
  }

  /** Builds for some platforms leave the operator out. */
  private static boolean hasLinear() {
    try {
      return Linear.OP != null;
    } catch (ExceptionInInitializerError | NoClassDefFoundError e) {
      return false;
    }
  }

  /** Whether a product of these can go to oneDNN. */
  static boolean takes(Tensor x, Tensor weight) {
    return AVAILABLE
        && x.is_cpu()
        && Tensors.dtype(x) == ScalarType.Float
        && Tensors.dtype(weight) == ScalarType.Float;
  }

  /**
   * {@code x w^T + b}.
   *
   * @param x [T, in], any strides
   * @param weight [out, in], any strides
   * @param bias [out], or null
   */
  static Tensor linear(Tensor x, Tensor weight, Tensor bias) {
    return Linear.OP.call(
        x, weight, bias, Linear.NO_ACTIVATION, Linear.NO_SCALARS, Linear.NO_ALGORITHM);
  }

  /**
   * {@code a^T b}, the gradient of a weight.
   *
   * @param a [T, m]
   * @param b [T, n]
   * @return [m, n]
   */
  static Tensor transposedProduct(Tensor a, Tensor b) {
    // oneDNN is faster when the product has more columns than rows.
    return a.size(1) <= b.size(1) ? linear(a.t(), b.t(), null) : linear(b.t(), a.t(), null).t();
  }
}
