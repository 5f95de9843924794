package moe4j.moe;

import org.bytedeco.pytorch.Tensor;

/** The experts of one rank. */
@FunctionalInterface
public interface Experts {
  /**
   * Computes each expert on its rows and weights the outputs.
   *
   * @return [R, h]: row r is {@code weight[r]} times its expert's output
   */
  Tensor forward(Dispatched dispatched);
}
