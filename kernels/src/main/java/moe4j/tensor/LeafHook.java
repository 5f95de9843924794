package moe4j.tensor;

import java.util.function.Consumer;
import org.bytedeco.pytorch.Tensor;

/**
 * Shows the gradient of a leaf when a backward has all of it, before it is added to the leaf's. It
 * is called on the thread of the backward, in a scope of its own and without recording; what it
 * throws comes out of the backward as a bare RuntimeException.
 */
public final class LeafHook implements AutoCloseable {
  private final Tensor leaf;
  private final CustomFunction.Hook hook;
  private final int number;

  /**
   * Hangs a hook on a leaf, for all backwards until it is closed.
   *
   * @param seen is given the gradient, which is libtorch's: it may read it, and must not change or
   *     keep it
   */
  public LeafHook(Tensor leaf, Consumer<Tensor> seen) {
    this.leaf = leaf;
    // With libtorch's reference alone the garbage collector would take it.
    this.hook =
        Scopes.keep(
            () ->
                new CustomFunction.Hook(
                    gradient -> {
                      seen.accept(gradient);
                      gradient.retainReference();
                      return gradient;
                    }));
    this.number = leaf.register_hook(hook);
  }

  @Override
  public void close() {
    leaf.remove_hook(number);
    hook.close();
  }
}
