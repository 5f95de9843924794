package moe4j.moe.bench;

import org.bytedeco.pytorch.Tensor;

/** The expert that every token goes to, in libtorch's operations. */
final class SharedMlp {
  private SharedMlp() {}

  /**
   * {@code sigmoid(x gate^T) mlp(x)}.
   *
   * @param gate [1, h], or null where it has none
   * @param x [T, h]
   */
  static Tensor apply(PlainMlp mlp, Tensor gate, Tensor x) {
    Tensor y = mlp.apply(x, 0);
    return gate == null ? y : y.mul(x.mm(gate.t()).sigmoid());
  }
}
