package moe4j.cost;

/**
 * What tensor-parallel ranks pass on to each other in a micro-batch, forward and backward.
 *
 * @param amount what it is of, on one rank
 */
public record Crossing(Kind kind, Amount amount) {

  /** Where it is passed on. */
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
