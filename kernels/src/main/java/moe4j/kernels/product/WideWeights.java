package moe4j.kernels.product;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Fp32 images of bf16 weights, for the products that {@link Bf16Products} makes in fp32. An image
 * takes four bytes an element. It is made when a product first needs the weight, and made anew when
 * a product needs the weight after a change: once a step, for all micro-batches, forward and
 * backward.
 *
 * <p>Whoever owns a weight says so, {@link #hold}, and lets its image go, {@link #release}. That a
 * weight has changed is known from libtorch's count of changes in place; what writes to its memory
 * in another way (a communication does) has to say so, {@link #changed}. A weight that nobody holds
 * is converted each time.
 */
public final class WideWeights {
  private static final List<Entry> ENTRIES = new ArrayList<>();

  /** By the weight's address; as a weight may be moved, an entry's own address is compared. */
  private static final Map<Long, Entry> BY_ADDRESS = new HashMap<>();

  private static long changes;
  private static boolean moved;

  private WideWeights() {}

  /** A weight and its image. */
  private static final class Entry {
    final Tensor weight;
    Tensor image;
    long version = -1;
    long change = -1;

    Entry(Tensor weight) {
      this.weight = weight;
    }

    /** The image, as of now. */
    Tensor current() {
      if (image == null) {
        image = Scopes.keep(() -> Tensors.empty(ScalarType.Float, weight.device(), weight.shape()));
      }
      long now = weight._version();
      if (version != now || change != changes) {
        Scopes.run(
            () -> {
              try (NoGradGuard guard = new NoGradGuard()) {
                image.copy_(weight.detach());
              }
            });
        version = now;
        change = changes;
      }
      return image;
    }

    void close() {
      if (image != null) {
        image.close();
        image = null;
      }
    }
  }

  /** Keeps an image of a weight from its first product on, if it is a bf16 weight on a CPU. */
  public static synchronized void hold(Tensor weight) {
    if (weight.is_cpu() && Tensors.dtype(weight) == ScalarType.BFloat16) {
      ENTRIES.add(new Entry(weight));
      moved = true;
    }
  }

  /** Lets a weight's image go, before the weight. */
  @SuppressWarnings("ReferenceEquality") // the owner's own handle
  public static synchronized void release(Tensor weight) {
    ENTRIES.removeIf(
        entry -> {
          boolean same = entry.weight == weight;
          if (same) {
            entry.close();
          }
          return same;
        });
    moved = true;
  }

  /** Weights were written to, or moved, behind libtorch's back. */
  public static synchronized void changed() {
    changes++;
    moved = true;
  }

  /** Bytes of all images. */
  public static synchronized long bytes() {
    return ENTRIES.stream()
        .filter(entry -> entry.image != null)
        .mapToLong(entry -> entry.image.nbytes())
        .sum();
  }

  /**
   * A weight to multiply by: itself where it is fp32, else its image, or a fresh one.
   *
   * @return not to be closed
   */
  static synchronized Tensor of(Tensor weight) {
    if (Tensors.dtype(weight) == ScalarType.Float) {
      return weight;
    }
    if (moved) {
      BY_ADDRESS.clear();
      ENTRIES.forEach(entry -> BY_ADDRESS.put(address(entry.weight), entry));
      moved = false;
    }
    long address = address(weight);
    Entry entry = BY_ADDRESS.get(address);
    if (entry != null && address(entry.weight) == address) {
      if (isWhole(weight, entry.weight)) {
        return entry.current();
      } else if (weight.dim() == 2 && isWhole(weight.t(), entry.weight)) {
        return entry.current().t();
      }
    }
    return Bf16Products.wide(weight);
  }

  private static boolean isWhole(Tensor weight, Tensor held) {
    return weight.is_contiguous()
        && held.is_contiguous()
        && Arrays.equals(weight.shape(), held.shape());
  }

  private static long address(Tensor t) {
    return t.data_ptr().address();
  }
}
