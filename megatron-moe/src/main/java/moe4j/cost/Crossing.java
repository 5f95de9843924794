package moe4j.cost;

/**
 * A tensor that tensor-parallel ranks communicate in a micro-batch, forward and backward.
 *
 * @param kind where, and so which collectives there are
 * @param amount the size of the whole tensor; of {@link Kind#LOSS}, of each rank's own part
 */
public record Crossing(Kind kind, Amount amount) {

  /** Where the tensor is communicated. */
  public enum Kind {
    /**
     * Before split matrices: the input's gradients are summed; with sequence parallelism the input
     * is gathered, too, and once more for the weights' gradients.
     */
    INTO_BLOCK,
    /**
     * Behind split matrices: outputs are summed; with sequence parallelism the output's gradient is
     * gathered.
     */
    OUT_OF_BLOCK,
    /**
     * Around a block to which each rank gives a part of the tokens that all have: outputs and
     * gradients are gathered. With sequence parallelism each has its part already.
     */
    AROUND_PARTS,
    /** In the loss, where each rank has a part of the vocabulary: the amount is gathered. */
    LOSS
  }
}
