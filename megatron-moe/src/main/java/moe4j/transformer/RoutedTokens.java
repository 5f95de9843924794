package moe4j.transformer;

import moe4j.parallel.Group;
import moe4j.parallel.Mappings;
import org.bytedeco.pytorch.Tensor;

/**
 * Which tokens are routed together: those of one rank, or of several that decide as one; and which
 * of them are padding.
 *
 * @param copies the ranks that compute the same routing, each of which counts a part of its losses
 * @param slices the ranks that have each an n-th of the tokens, in their order
 * @param padding which of all the tokens that are routed together are padding: bool [T], or null
 * @param paddingCount how many these are, an int64 scalar, or null: every layer asks for it
 */
record RoutedTokens(Group copies, Group slices, Tensor padding, Tensor paddingCount) {
  /** One rank's own tokens. */
  static RoutedTokens own() {
    return new RoutedTokens(Group.alone(), Group.alone(), null, null);
  }

  /** For tokens of which each rank has an n-th. */
  RoutedTokens ofSlices(Group ranks) {
    return new RoutedTokens(ranks, ranks, padding, paddingCount);
  }

  /** For tokens all of which are on every rank. */
  RoutedTokens ofCopies(Group ranks) {
    return new RoutedTokens(ranks, Group.alone(), padding, paddingCount);
  }

  /** The same where some of the tokens are padding. */
  RoutedTokens padded(Tensor isPadding) {
    return new RoutedTokens(copies, slices, isPadding.flatten(), isPadding.sum());
  }

  /** The part of a loss that each rank counts, so that all ranks together count it once. */
  double share() {
    return 1.0 / copies.size();
  }

  /**
   * All tokens' rows, [T, d], gathered from the ranks' own, [T/n, d]; the gradient is the sum over
   * the ranks.
   */
  Tensor gathered(Tensor rows) {
    return slices.isAlone() ? rows : Mappings.gather(rows.unsqueeze(0), slices).squeeze(0);
  }
}
