package moe4j.kernels.experts;

import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.product.Gemm;
import moe4j.tensor.BoxedOp;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A router's logits, {@code x w^T} in fp32 whatever the type of both. On a GPU bf16 is multiplied
 * as bf16 and summed in fp32: products of two bf16 numbers are exact in fp32, so nothing is lost
 * against a product in fp32, which has no tensor cores. Backwards each logit's gradient takes part
 * as the sum of two bf16 numbers, which have 16 of its 24 bits.
 */
public final class RouterProjection {
  private static final BoxedOp MM_OF_TYPE = BoxedOp.find("aten::mm", "dtype");
  private static final long FLOAT = ScalarType.Float.value;

  /** Of a block, as in split.cu. */
  private static final int THREADS = 256;

  private RouterProjection() {}

  /**
   * The logits.
   *
   * @param x [T, h]
   * @param weight [E, h]; both in any type, their gradients too
   * @return fp32 [T, E]
   */
  public static Tensor logits(Tensor x, Tensor weight) {
    return take(x, weight)
        ? new Logits().apply(x, weight)[0]
        : Gemm.linear(x.to(ScalarType.Float), weight.to(ScalarType.Float), null);
  }

  /** Whether the product is of bf16 as it is. */
  static boolean take(Tensor x, Tensor weight) {
    return Kernels.take(x)
        && Tensors.dtype(x) == ScalarType.BFloat16
        && Tensors.dtype(weight) == ScalarType.BFloat16;
  }

  /** {@link #logits} without a gradient, where {@link #take} says so. */
  static Tensor product(Tensor x, Tensor weight) {
    return mm(x, weight.t());
  }

  /**
   * The gradient of x, of that of the logits.
   *
   * @param halves bf16 [T, 2 E]: beside each other the gradient rounded, and what that leaves of it
   * @param more [T, h], a gradient that is added to in its own memory and is the result; or null
   * @return [T, h]
   */
  static Tensor inputGradient(Tensor halves, Tensor weight, Tensor more) {
    Tensor twice = torch.cat(new TensorVector(weight, weight), 0);
    return more == null ? halves.mm(twice) : more.addmm_(halves, twice);
  }

  /** The gradient of the weight, likewise. */
  static Tensor weightGradient(Tensor halves, Tensor x, Tensor weight) {
    long experts = weight.size(0);
    Tensor both = mm(halves.t(), x);
    Tensor gradient = Launch.empty(weight);
    torch.add_out(
        gradient, Tensors.slice(both, 0, 0, experts), Tensors.slice(both, 0, experts, 2 * experts));
    return gradient;
  }

  /** The gradient of the logits' bias, likewise. */
  static Tensor biasGradient(Tensor halves, Tensor bias) {
    Tensor both = halves.sum(new long[] {0}, false, new ScalarTypeOptional(ScalarType.Float));
    return both.view(2, -1).sum(0).to(Tensors.dtype(bias));
  }

  /**
   * {@code a b} of bf16 matrices, summed and left in fp32; libtorch has it for CUDA only. It lets
   * cuBLAS reduce partial sums in the output's type unless told otherwise: here that is fp32.
   */
  private static Tensor mm(Tensor a, Tensor b) {
    return MM_OF_TYPE.call(a, b, FLOAT);
  }

  /** fp32 [T, E] as bf16 [T, 2 E]: beside each other the numbers rounded, and what is left. */
  private static Tensor split(Tensor x) {
    long rows = x.size(0);
    int n = Math.toIntExact(x.size(1));
    Tensor halves = Tensors.empty(ScalarType.BFloat16, x.device(), rows, 2L * n);
    int width = n % 8 == 0 && Launch.aligned(x, halves) ? 8 : 1;
    long blocks = (rows * (n / width) + THREADS - 1) / THREADS;
    CudaKernel.of("experts/split.cu", "split", "WIDTH=" + width)
        .launch(blocks, THREADS, 0, x, halves, rows, n);
    return halves;
  }

  private static final class Logits extends CustomFunction {
    private Tensor x;
    private Tensor weight;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0]);
      weight = save(inputs[1]);
      return new Tensor[] {product(inputs[0], inputs[1])};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor halves = split(gradients[0]);
      return new Tensor[] {
        needsGradient(0) ? inputGradient(halves, weight, null) : null,
        needsGradient(1) ? weightGradient(halves, x, weight) : null
      };
    }
  }
}
