package moe4j.kernels;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The one place where a GPU's kernels are chosen: ours, or libtorch's operations. */
public final class Kernels {
  private static volatile boolean ours = true;

  private Kernels() {}

  /** Has the reference in libtorch's operations computed everywhere, or our kernels again. */
  public static void useOurs(boolean use) {
    ours = use;
  }

  /** Whether a kernel of ours computes what is asked of these tensors: those on a GPU. */
  public static boolean take(Tensor first) {
    return ours && first.is_cuda();
  }

  /**
   * The define that tells a kernel's source the type of its tensors. (A macro named T would break
   * the templates of NVRTC's own header.)
   *
   * @throws IllegalArgumentException for another than fp32 and bf16
   */
  static String type(Tensor t) {
    return "TYPE=" + name(t);
  }

  /** What a type is called in our sources. */
  static String name(Tensor t) {
    ScalarType dtype = Tensors.dtype(t);
    return switch (dtype) {
      case Float -> "float";
      case BFloat16 -> "bf16";
      default -> throw new IllegalArgumentException("no kernel of ours computes in " + dtype);
    };
  }
}
