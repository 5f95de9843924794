package moe4j.moe.experts;

import java.util.List;
import moe4j.moe.dispatch.Dispatched;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/** The experts of one rank, all of them in one: {@link GroupedMlp}, or {@link ModuleExperts}. */
@FunctionalInterface
public interface Experts {
  /**
   * Computes each expert on its rows and weights the outputs.
   *
   * @return [R, d]: row r is {@code weight[r]} times its expert's output; d is h in a model's
   *     layer. Rows that no route uses may hold any values
   */
  Tensor forward(Dispatched dispatched, Pass pass);

  /**
   * {@link #forward}, the rows added up by token: what a layer asks for. Experts that never have
   * rows of their own, because a kernel gathers them, compute it another way.
   *
   * @return [T, d]
   */
  default Tensor sum(Dispatched dispatched, Pass pass) {
    return dispatched.sum(forward(dispatched, pass));
  }

  /**
   * {@link #sum} with something added, such as a shared expert's output.
   *
   * @param beside [T, d]
   * @return [T, d]
   */
  default Tensor sumBeside(Dispatched dispatched, Tensor beside, Pass pass) {
    return sum(dispatched, pass).add(beside);
  }

  /** {@link #forward} where there are several outputs, [R, ...] each. */
  default List<Tensor> forwardAll(Dispatched dispatched, Pass pass) {
    return List.of(forward(dispatched, pass));
  }

  /** Makes a layer's experts. */
  @FunctionalInterface
  interface Factory {
    /**
     * Makes them.
     *
     * @param parameters the experts' scope, {@code decoder.layers.N.mlp.experts}
     */
    Experts create(ParameterScope parameters);
  }
}
