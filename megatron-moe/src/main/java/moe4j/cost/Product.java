package moe4j.cost;

/**
 * A product of rows with a weight matrix, forward and backward.
 *
 * @param kind which kernel computes it: {@code plan} knows how much of a GPU's peak each reaches
 * @param rows rows of the input
 * @param in channels of the input
 * @param out channels of the output
 * @param passes 3 for the forward, the input's gradient and the weight's; 2 where the input has no
 *     gradient
 */
public record Product(Kind kind, Rows rows, Width in, Width out, int passes) {

  /** Which kernel computes a product. */
  public enum Kind {
    /** A layer's product. */
    DENSE,
    /** The output layer's product, whose weight is as long as the vocabulary. */
    OUTPUT,
    /** The products of all experts of a rank together, each with rows of its own. */
    GROUPED,
    /** A gate's product, in fp32; Megatron does not count it among a model's FLOPs. */
    GATE
  }

  /** FLOPs of one rank: {@code 2 passes rows in out}. */
  public double flops(Placement placement) {
    return 2 * passes * rows.on(placement) * in.on(placement) * out.on(placement);
  }
}
