package moe4j.kernels.cuda;

import java.util.Arrays;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What launchers of our kernels share: they find the kernel for a type of elements, check its
 * tensors, and make the memory for its results.
 */
public final class Launch {
  /**
   * Threads of a block where a warp makes a row, as in {@code rows.cu} and {@code
   * weighted_activation.cu}.
   */
  public static final int ROW_THREADS = 256;

  private Launch() {}

  /** The blocks for so many rows, a warp each. */
  public static long rowBlocks(long rows) {
    return (rows + ROW_THREADS / 32 - 1) / (ROW_THREADS / 32);
  }

  /**
   * The kernel for a type of elements, which the source gets as the define {@code TYPE}.
   *
   * @param defines the other ones
   * @throws IllegalArgumentException for another type than fp32 and bf16
   */
  public static CudaKernel kernel(
      String source, String function, ScalarType type, String... defines) {
    String[] all = Arrays.copyOf(defines, defines.length + 1);
    all[defines.length] = "TYPE=" + name(type);
    return CudaKernel.of(source, function, all);
  }

  /**
   * The name of a type in our sources.
   *
   * @throws IllegalArgumentException for another type than fp32 and bf16
   */
  public static String name(ScalarType type) {
    return switch (type) {
      case Float -> "float";
      case BFloat16 -> "bf16";
      default ->
          throw new IllegalArgumentException(
              "Kernels compute in bf16 and fp32, not in " + type + ".");
    };
  }

  /**
   * Refuses tensors of other types than the first one's; a null is passed over.
   *
   * @throws IllegalArgumentException naming both types
   */
  public static void sameType(Tensor first, Tensor... others) {
    for (Tensor other : others) {
      if (other != null && Tensors.dtype(other) != Tensors.dtype(first)) {
        throw new IllegalArgumentException(
            "The tensors of a kernel are of one type, not of %s and %s."
                .formatted(Tensors.dtype(first), Tensors.dtype(other)));
      }
    }
  }

  /**
   * Refuses a tensor that a kernel would misread, since it gets nothing but the address: one of
   * another type or of another number of elements.
   *
   * @param what names the tensor, such as {@code labels}
   * @throws IllegalArgumentException naming the tensor, what is wanted and what was given
   */
  public static void require(Tensor t, String what, ScalarType type, long elements) {
    if (Tensors.dtype(t) != type || t.numel() != elements) {
      throw new IllegalArgumentException(
          "A kernel takes %s of %d elements of type %s, not of shape %s and type %s."
              .formatted(what, elements, type, Tensors.shape(t), Tensors.dtype(t)));
    }
  }

  /** A new contiguous tensor of another's shape and type, with whatever its memory holds. */
  public static Tensor empty(Tensor like) {
    return Tensors.empty(Tensors.dtype(like), like.device(), like.shape());
  }

  /** A tensor as kernels read it; a null pointer for null. */
  public static Tensor contiguous(Tensor t) {
    return t == null ? null : t.contiguous();
  }

  /** Whether all begin at multiples of 16 bytes; a null is passed over. */
  public static boolean aligned(Tensor... tensors) {
    for (Tensor t : tensors) {
      Pointer data = t == null ? null : t.data_ptr();
      if (data != null && data.address() % 16 != 0) {
        return false;
      }
    }
    return true;
  }
}
