package moe4j.kernels.experts;

import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.product.Gemm;
import moe4j.tensor.BoxedOp;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
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

  /**
   * A router's logits, and the tokens once more for the experts.
   *
   * @param logits fp32 [T, E]
   * @param source x as it was given. Where a kernel computes, its gradient joins the logits' part in
   *     its own memory: so it may be handed only to a function that makes a gradient for it alone,
   *     as {@link RoutedMlp} and {@link RowGather} do.
   */
  public record Projected(Tensor logits, Tensor source) {}

  private RouterProjection() {}

  /**
   * The logits, and x for experts: the two gradients of x are added up in the product of one, which
   * spares a pass over both.
   *
   * @param x [T, h]
   * @param weight [E, h]; both in any type, their gradients too
   */
  public static Projected project(Tensor x, Tensor weight) {
    if (!take(x, weight) || !x.is_contiguous()) {
      return new Projected(logits(x, weight), x);
    }
    Tensor[] outputs = new Logits(true).apply(x, weight);
    return new Projected(outputs[0], outputs[1]);
  }

  /**
   * The logits.
   *
   * @param x [T, h]
   * @param weight [E, h]; both in any type, their gradients too
   * @return fp32 [T, E]
   */
  public static Tensor logits(Tensor x, Tensor weight) {
    return take(x, weight)
        ? new Logits(false).apply(x, weight)[0]
        : Gemm.linear(x.to(ScalarType.Float), weight.to(ScalarType.Float), null);
  }

  private static boolean take(Tensor x, Tensor weight) {
    return Kernels.take(x)
        && Tensors.dtype(x) == ScalarType.BFloat16
        && Tensors.dtype(weight) == ScalarType.BFloat16;
  }

  /**
   * {@code a b} of bf16 matrices, summed and left in fp32; libtorch has it for CUDA only. It lets
   * cuBLAS reduce partial sums in the output's type unless told otherwise: here that is fp32.
   */
  private static Tensor product(Tensor a, Tensor b) {
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
    private final boolean withSource;
    private Tensor x;
    private Tensor weight;

    Logits(boolean withSource) {
      this.withSource = withSource;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0]);
      weight = save(inputs[1]);
      Tensor logits = product(inputs[0], inputs[1].t());
      // The source is the same memory, under a gradient of its own.
      return withSource
          ? new Tensor[] {logits, inputs[0].detach()}
          : new Tensor[] {logits};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor ofSource = withSource ? gradients[1] : null;
      if (gradients[0] == null) {
        // The logits are not used where others are drawn in their place.
        return new Tensor[] {
          needsGradient(0) ? new Tensor(ofSource) : null,
          needsGradient(1) ? torch.zeros_like(weight) : null
        };
      }
      Tensor halves = split(gradients[0]);
      Tensor dx = null;
      Tensor dweight = null;
      if (needsGradient(0)) {
        Tensor twice = torch.cat(new TensorVector(weight, weight), 0);
        // A handle of its own: that of the gradient that came is closed after this.
        dx =
            ofSource == null
                ? halves.mm(twice)
                : new Tensor(ofSource.addmm_(halves, twice));
      }
      if (needsGradient(1)) {
        long experts = weight.size(0);
        Tensor both = product(halves.t(), x);
        dweight = Launch.empty(weight);
        torch.add_out(
            dweight,
            Tensors.slice(both, 0, 0, experts),
            Tensors.slice(both, 0, experts, 2 * experts));
      }
      return new Tensor[] {dx, dweight};
    }
  }
}
