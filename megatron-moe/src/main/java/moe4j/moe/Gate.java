package moe4j.moe;

import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * Decides which experts a token goes to, and with what weight. Written in ordinary tensor code: the
 * gradient of the weights finds its way to the gate's parameters by itself.
 */
@FunctionalInterface
public interface Gate {
  /**
   * Routes tokens.
   *
   * @param hidden [T, h]
   * @param pass takes the gate's losses, and has the random numbers a gate may draw
   */
  Routing route(Tensor hidden, Pass pass);
}
