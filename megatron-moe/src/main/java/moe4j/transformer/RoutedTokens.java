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
 * @param padding which tokens are nobody's, bool [T] of all the tokens that are routed together; or
 *     null
 */
record RoutedTokens(Group copies, Group slices, Tensor padding) {
  /** One rank's own. */
  static RoutedTokens own() {
    return new RoutedTokens(Group.alone(), Group.alone(), null);
  }

  /** Tokens of which each rank has an n-th. */
  RoutedTokens ofSlices(Group ranks) {
    return new RoutedTokens(ranks, ranks, padding);
  }

  /** Tokens that every rank has all of. */
  RoutedTokens ofCopies(Group ranks) {
    return new RoutedTokens(ranks, Group.alone(), padding);
  }

  /** The same of which some are padding. */
  RoutedTokens padded(Tensor nobodys) {
    return new RoutedTokens(copies, slices, nobodys.flatten());
  }

  /** What a rank's loss counts, so that all ranks' count once. */
  double share() {
    return 1.0 / copies.size();
  }

  /**
   * Rows of all tokens, [T, d], of this rank's, [T/n, d]; the gradient is the sum of all ranks'.
   */
  Tensor gathered(Tensor rows) {
    return slices.isAlone() ? rows : Mappings.gather(rows.unsqueeze(0), slices).squeeze(0);
  }
}
