package moe4j.kernels.cuda;

import org.bytedeco.pytorch.Tensor;

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
}
