package moe4j.kernels.cuda;

import org.bytedeco.pytorch.Tensor;

/** The one place where a GPU's kernels are chosen: ours, or libtorch's operations. */
public final class Kernels {
  private static volatile boolean ours = true;

  private Kernels() {}

  /**
   * Turns our kernels on or off for the whole process.
   *
   * @param use false for the references in libtorch's operations, on GPUs too
   */
  public static void useOurs(boolean use) {
    ours = use;
  }

  /** Whether a kernel of ours computes an operation on this tensor: on a GPU, unless turned off. */
  public static boolean take(Tensor first) {
    return ours && first.is_cuda();
  }
}
