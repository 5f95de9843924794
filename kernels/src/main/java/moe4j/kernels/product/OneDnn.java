package moe4j.kernels.product;

import java.util.ArrayList;
import java.util.List;
import moe4j.tensor.BoxedOp;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
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

  /** From so many rows on a weight is put into blocks for a product. */
  private static final long PACKING_PAYS = 1024;

  private OneDnn() {}

  /** What the operator takes beside tensors; looked up once. */
  private static final class Linear {
    static final BoxedOp OP = BoxedOp.find("mkldnn::_linear_pointwise", "");
    static final BoxedOp PACK = BoxedOp.find("mkldnn::_reorder_linear_weight", "");
    static final BoxedOp TO_MKLDNN = BoxedOp.find("aten::to_mkldnn", "");
    static final BoxedOp WEIGHT_GRADIENTS =
        BoxedOp.find("aten::mkldnn_linear_backward_weights", "");
    static final IValue NO_ACTIVATION = Scopes.keep(() -> new IValue("none"));
    static final IValue NO_SCALARS =
        Scopes.keep(() -> new IValue(new GenericList(OP.elementType(4))));
    static final IValue NO_ALGORITHM = Scopes.keep(() -> new IValue(""));
  }

  /** The operator that says whether bf16 products go to oneDNN; looked up once. */
  private static final class Bf16 {
    static final BoxedOp SUPPORTED = BoxedOp.find("mkldnn::_is_mkldnn_bf16_supported", "");
  }

  /** Builds for some platforms leave the operator out. */
  private static boolean hasLinear() {
    try {
      return Linear.OP != null;
    } catch (ExceptionInInitializerError | NoClassDefFoundError e) {
      return false;
    }
  }

  /** Whether libtorch takes bf16 products to oneDNN on this processor. */
  static boolean takesBf16() {
    return torch.hasMKLDNN() && Bf16.SUPPORTED.callForFlag();
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
   * @param x [T, in]
   * @param weight [out, in], contiguous
   * @param bias [out], or null
   */
  static Tensor linear(Tensor x, Tensor weight, Tensor bias) {
    // In blocks of oneDNN's own the weight is read faster; making them costs a pass over it.
    boolean pays = x.size(0) >= PACKING_PAYS && weight.size(0) <= weight.size(1);
    return product(x, pays ? Linear.PACK.call(weight, x.size(0)) : weight, bias);
  }

  /**
   * {@code g w}, the gradient of a linear layer's input.
   *
   * @param g [T, out]
   * @param weight [out, in], contiguous
   */
  static Tensor inputGradient(Tensor g, Tensor weight) {
    return product(g, weight.t(), null);
  }

  /**
   * {@code g^T x} and the sum of g's rows, the gradients of a linear layer's weight and bias.
   *
   * @param g [T, out]
   * @param x [T, in]
   * @param weight [out, in]
   * @param bias whether the layer has one
   * @return [out, in], and [out] where there is a bias
   */
  static List<Tensor> weightGradients(Tensor g, Tensor x, Tensor weight, boolean bias) {
    if (g.size(1) >= x.size(1)) {
      return transposedProduct(g, x, weight, bias);
    }
    // oneDNN is faster when the product has more rows than columns.
    List<Tensor> gradients =
        new ArrayList<>(
            List.of(transposedProduct(x, g, weight.t(), false).get(0).t().contiguous()));
    if (bias) {
      gradients.add(g.sum(0));
    }
    return gradients;
  }

  private static List<Tensor> transposedProduct(Tensor a, Tensor b, Tensor like, boolean bias) {
    return Linear.WEIGHT_GRADIENTS.callForAll(
        Linear.TO_MKLDNN.call(a, null), Linear.TO_MKLDNN.call(b, null), like, bias);
  }

  private static Tensor product(Tensor x, Tensor weight, Tensor bias) {
    return Linear.OP.call(
        x, weight, bias, Linear.NO_ACTIVATION, Linear.NO_SCALARS, Linear.NO_ALGORITHM);
  }
}
