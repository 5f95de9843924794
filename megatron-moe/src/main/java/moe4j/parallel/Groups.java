package moe4j.parallel;

/**
 * The groups that a rank is in. A layer is given them in its constructor. In a group of size 1
 * nothing is communicated.
 *
 * @param layout the whole
 * @param sequenceParallel whether norms and residuals have each a part of the tokens, where
 *     matrices are shared
 * @param world all ranks
 * @param tensor {@link Layout#tensorRanks}
 * @param data {@link Layout#dataRanks}
 * @param expert {@link Layout#expertRanks}
 * @param expertTensor {@link Layout#expertTensorRanks}
 * @param expertBlock {@link Layout#expertBlockRanks}
 * @param expertData {@link Layout#expertDataRanks}
 */
public record Groups(
    Layout layout,
    boolean sequenceParallel,
    Group world,
    Group tensor,
    Group data,
    Group expert,
    Group expertTensor,
    Group expertBlock,
    Group expertData) {

  private static final Groups SINGLE = alone();

  private static Groups alone() {
    Group one = Group.alone();
    return new Groups(Layout.SINGLE, false, one, one, one, one, one, one, one);
  }

  /** One rank. */
  public static Groups single() {
    return SINGLE;
  }

  /** Whether each tensor-parallel rank has a part of the tokens between blocks. */
  public boolean slicesTokens() {
    return sequenceParallel && !tensor.isAlone();
  }

  /** The ranks that have each a part of a micro-batch's tokens between blocks. */
  public Group tokenSlices() {
    return slicesTokens() ? tensor : Group.alone();
  }

  /** Whether all calls of the groups can be captured in a CUDA graph. */
  public boolean isCapturable() {
    return world.isCapturable();
  }
}
