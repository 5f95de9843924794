package moe4j.transformer;

import java.util.List;
import moe4j.kernels.dropout.Dropout;
import org.bytedeco.pytorch.Tensor;

/**
 * The residual stream with an addition that is still to be made: {@code stream + dropout(delta)}.
 * The next norm makes it, so that the two are one pass over memory; from layer to layer the stream
 * is handed on like this.
 *
 * @param stream [B, S, h]
 * @param delta what is to be added, or null
 * @param dropout of the delta
 */
public record Residual(Tensor stream, Delta delta, Dropout dropout) {
  /** A stream to which nothing is to be added. */
  public static Residual of(Tensor stream) {
    return new Residual(stream, null, Dropout.NONE);
  }

  /** The tensors that were made in the pass: all but the bias, a parameter. */
  public List<Tensor> tensors() {
    return delta == null ? List.of(stream) : List.of(stream, delta.value());
  }

  /** Closes the tensors once the addition is made; autograd keeps those that it needs. */
  public void close() {
    tensors().forEach(Tensor::close);
  }
}
