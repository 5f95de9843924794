package moe4j.moe.experts;

import java.util.List;
import java.util.function.UnaryOperator;
import moe4j.transformer.FeedForward;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * One expert, in ordinary tensor code: a function that is applied to each row by itself. It may be
 * given rows of zeros that belong to no token, and its output for these is not used. {@link
 * ModuleExperts} makes a layer's experts of several.
 */
@FunctionalInterface
public interface Expert {
  /**
   * Computes.
   *
   * @param rows the tokens' rows of each of the layer's inputs, [n, ...]; mostly there is one
   * @return the outputs, [n, ...] each; not yet weighted
   */
  List<Tensor> forward(List<Tensor> rows, Pass pass);

  /** An expert of one input and one output. */
  static Expert of(UnaryOperator<Tensor> function) {
    return (rows, pass) -> List.of(function.apply(rows.get(0)));
  }

  /** A feed-forward block as an expert. */
  static Expert of(FeedForward block) {
    return (rows, pass) -> List.of(block.forward(rows.get(0), pass));
  }

  /** Makes experts. */
  @FunctionalInterface
  interface Factory {
    /**
     * Makes an expert.
     *
     * @param number from 0
     * @param parameters its scope, {@code decoder.layers.N.mlp.experts.local_experts.I}
     */
    Expert create(int number, ParameterScope parameters);
  }
}
