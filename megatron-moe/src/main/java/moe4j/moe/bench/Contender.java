package moe4j.moe.bench;

import java.util.List;
import java.util.function.Function;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * A way to compute a layer.
 *
 * @param name what it is called in a table
 * @param forward the layer's output, or what else has a gradient
 * @param leaves what gets a gradient
 * @param captured whether a GPU can replay it as a graph: nothing of it waits for the GPU
 */
record Contender(
    String name, Function<Pass, Tensor> forward, List<Tensor> leaves, boolean captured) {

  Contender {
    leaves = List.copyOf(leaves);
  }

  /** Lets go of the gradients, so that none is added to the last round's. */
  void reset() {
    leaves.forEach(leaf -> leaf.mutable_grad().reset());
  }
}
