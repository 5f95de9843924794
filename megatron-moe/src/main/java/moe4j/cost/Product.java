package moe4j.cost;

/**
 * A matrix product, forward and backward.
 *
 * @param kind how fast such products are
 * @param rows of the matrix that the weight multiplies
 * @param in channels of its rows
 * @param out channels of the result
 * @param passes 3 for the forward, the input's gradient and the weight's; 2 where the input has no
 *     gradient
 */
public record Product(Kind kind, Rows rows, Width in, Width out, int passes) {

  /** How fast products are. */
  public enum Kind {
    /** A layer's. */
    DENSE,
    /** The output layer's, whose weight is as long as the vocabulary. */
    OUTPUT,
    /** Those of all experts of a rank together, each with rows of its own. */
    GROUPED,
    /** A gate's, in fp32; Megatron does not count it among a model's FLOPs. */
    GATE
  }

  /** FLOPs of one rank. */
  public double flops(Placement placement) {
    return 2 * passes * rows.on(placement) * in.on(placement) * out.on(placement);
  }
}
