package moe4j.kernels;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import moe4j.kernels.cuda.CudaKernel;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What launching a kernel of ours needs to know of its tensors: their type and alignment. */
final class Launch {
  private static final Map<List<String>, CudaKernel> KERNELS = new ConcurrentHashMap<>();

  private Launch() {}

  /**
   * A kernel for a type of elements.
   *
   * @param defines beside {@code TYPE}
   */
  static CudaKernel kernel(String source, String function, ScalarType type, String... defines) {
    List<String> key = new ArrayList<>(List.of(source, function, "TYPE=" + name(type)));
    key.addAll(List.of(defines));
    return KERNELS.computeIfAbsent(
        key, k -> CudaKernel.of(source, function, k.subList(2, k.size()).toArray(new String[0])));
  }

  private static String name(ScalarType type) {
    return switch (type) {
      case Float -> "float";
      case BFloat16 -> "bf16";
      default ->
          throw new IllegalArgumentException("kernels compute in bf16 and fp32, not in " + type);
    };
  }

  /** Refuses tensors of other types than the first one's; null is none. */
  static void sameType(Tensor first, Tensor... others) {
    for (Tensor other : others) {
      if (other != null && Tensors.dtype(other) != Tensors.dtype(first)) {
        throw new IllegalArgumentException(
            "a kernel's tensors are in one type, not in %s and %s"
                .formatted(Tensors.dtype(first), Tensors.dtype(other)));
      }
    }
  }

  /** A new tensor with whatever its memory holds. */
  static Tensor empty(ScalarType type, Tensor deviceOf, long... shape) {
    return torch.empty(shape, Tensors.options(type, deviceOf.device()), new MemoryFormatOptional());
  }

  /** A new contiguous tensor of another's shape and type, with whatever its memory holds. */
  static Tensor empty(Tensor like) {
    return empty(Tensors.dtype(like), like, like.shape());
  }

  /** A tensor as kernels read it; null is none. */
  static Tensor contiguous(Tensor t) {
    return t == null ? null : t.contiguous();
  }

  /** Whether all begin at multiples of 16 bytes; null is none. */
  static boolean aligned(Tensor... tensors) {
    for (Tensor t : tensors) {
      if (t != null && t.data_ptr().address() % 16 != 0) {
        return false;
      }
    }
    return true;
  }
}
