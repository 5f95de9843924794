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
   * @param seen gets the gradient; libtorch's, it is only to be read, and not to be kept
   */
  public LeafHook(Tensor leaf, Consumer<Tensor> seen) {
    this.leaf = leaf;
    // libtorch's reference alone would let the collector take it.
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
