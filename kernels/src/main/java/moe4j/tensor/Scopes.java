package moe4j.tensor;

import java.util.List;
import java.util.function.Function;
import java.util.function.Supplier;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Owners of native memory. A tensor made in Java holds native memory until it is closed, and Java's
 * collector sees eight bytes of it; so every piece of work runs inside a {@link PointerScope},
 * which closes what was made in it. The training loop opens one a micro-step, the layer container
 * one a layer; what autograd needs it keeps itself.
 *
 * <p>Scopes belong to one thread. A tensor that lives longer than the step (a parameter, a buffer)
 * is made through {@link #keep}.
 */
public final class Scopes {
  private Scopes() {}

  /**
   * Runs {@code body} in a scope of its own and hands its result to the enclosing scope: all other
   * tensors made by it are closed. Without an enclosing scope the caller owns the result.
   */
  public static Tensor compute(Supplier<Tensor> body) {
    return compute(body, List::of);
  }

  /**
   * {@link #compute(Supplier)} for a result of several tensors.
   *
   * @param tensors those of the result that were made by {@code body}
   */
  public static <R> R compute(Supplier<R> body, Function<R, List<Tensor>> tensors) {
    PointerScope outer = PointerScope.getInnerScope();
    try (PointerScope inner = new PointerScope()) {
      R result = body.get();
      for (Tensor tensor : tensors.apply(result)) {
        if (outer == null) {
          tensor.retainReference();
        } else {
          outer.attach(tensor);
        }
      }
      return result;
    }
  }

  /** Runs {@code body} in a scope of its own and closes every tensor made by it. */
  public static void run(Runnable body) {
    try (PointerScope scope = new PointerScope()) {
      body.run();
    }
  }

  /**
   * Makes something that outlives every scope: the caller closes it, or it lives as long as the
   * process.
   */
  public static <P extends Pointer> P keep(Supplier<P> body) {
    try (PointerScope scope = new PointerScope()) {
      P result = body.get();
      result.retainReference();
      return result;
    }
  }

  /** How many native objects Java holds at this moment; flat over the steps of a sound program. */
  public static long livePointers() {
    return Pointer.totalCount();
  }
}
