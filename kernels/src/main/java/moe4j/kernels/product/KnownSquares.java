package moe4j.kernels.product;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import moe4j.tensor.Scopes;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Tensor;

/**
 * Sums of squares of gradients that a product has added up while it wrote them, so that the norm
 * need not read them again. They are found by the parameter, and hold for the very tensor that was
 * written: a gradient that was copied, or that anything was added to, is of no known sum.
 */
public final class KnownSquares {
  private static final Map<Long, Known> BY_PARAMETER = new ConcurrentHashMap<>();

  /**
   * A gradient as it was written.
   *
   * @param version libtorch's count of the changes to its memory
   */
  private record Known(long address, long elements, long version, Tensor squares) {
    boolean is(Tensor gradient) {
      return KnownSquares.address(gradient) == address
          && gradient.numel() == elements
          && gradient._version() == version;
    }
  }

  private KnownSquares() {}

  /**
   * Leaves the sum of a gradient, in place of what was left of the parameter before.
   *
   * @param squares fp32, in any number of parts, of the values as they were rounded; a captured
   *     graph that writes the gradient writes these, too
   */
  public static void leave(Tensor parameter, Tensor gradient, Tensor squares) {
    Known known =
        new Known(
            address(gradient), gradient.numel(), gradient._version(), Scopes.keep(squares::detach));
    close(BY_PARAMETER.put(address(parameter), known));
  }

  /** The parts of a gradient's sum of squares, or null where it is not known. */
  public static Tensor of(Tensor parameter, Tensor gradient) {
    Known known = BY_PARAMETER.get(address(parameter));
    return known != null && known.is(gradient) ? known.squares : null;
  }

  /** Lets go of what was left of a parameter's gradient. */
  public static void forget(Tensor parameter) {
    close(BY_PARAMETER.remove(address(parameter)));
  }

  private static void close(Known known) {
    if (known != null) {
      known.squares.close();
    }
  }

  /** An empty tensor has no address. */
  static long address(Tensor t) {
    Pointer data = t.data_ptr();
    return data == null ? 0 : data.address();
  }
}
