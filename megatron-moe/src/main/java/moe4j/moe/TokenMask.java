package moe4j.moe;

import java.util.Arrays;
import java.util.Map;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Tokens that no expert computes, and what the output has for them. A gate's losses, figures and
 * capacities count the other tokens only, as with {@link Pass#padding}.
 *
 * @param values integers [..], as many as there are tokens: 0 for a token that is computed
 * @param fills by value, the output of its tokens: a scalar or a tensor of one token's shape.
 *     Tokens of a value that is not a key get zeros
 */
public record TokenMask(Tensor values, Map<Integer, Tensor> fills) {

  /** Copies the map. */
  public TokenMask {
    fills = Map.copyOf(fills);
    if (fills.containsKey(0)) {
      throw new IllegalArgumentException(
          "a mask of 0 means that a token is computed: it cannot have a fill");
    }
  }

  /** Which tokens are left out: bool [T]. */
  Tensor left() {
    return values.flatten().ne(new Scalar(0));
  }

  /**
   * Fills the masked tokens' outputs, whatever a shared expert has made of them.
   *
   * @param output [T, ...]
   */
  Tensor fill(Tensor output) {
    Tensor flat = values.flatten();
    long[] shape = output.shape();
    Arrays.fill(shape, 1, shape.length, 1);
    Tensor filled = output.masked_fill(left().view(shape), new Scalar(0));
    for (Map.Entry<Integer, Tensor> fill : fills.entrySet()) {
      Tensor here = flat.eq(new Scalar(fill.getKey())).view(shape);
      filled = torch.where(here, fill.getValue().to(output.scalar_type()), filled);
    }
    return filled;
  }
}
