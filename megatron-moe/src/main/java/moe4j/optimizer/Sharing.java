package moe4j.optimizer;

import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.transformer.Parameter;

/**
 * The ranks that hold the same elements of a parameter, as a grid: along {@code summed} each
 * computes a part of the gradient, along {@code alike} all compute the same gradient.
 *
 * <pre>
 *   experts                         summed over the copies of the experts
 *   dense, in parts                 summed over the data-parallel ranks
 *   dense, whole                    the same, and alike on all tensor-parallel ranks
 *   dense, whole, partial gradient  summed over all ranks
 * </pre>
 *
 * @param summed the ranks over which the gradient is summed
 * @param alike the ranks that have the same gradient without that
 */
public record Sharing(Group summed, Group alike) {

  /** How a parameter is shared, this rank having its part of it. */
  public static Sharing of(Parameter parameter, Groups groups) {
    boolean whole = parameter.shard().isWhole();
    if (parameter.isOfExperts()) {
      return new Sharing(groups.expertData(), whole ? groups.expertTensor() : Group.alone());
    }
    if (parameter.partial()) {
      return new Sharing(groups.world(), Group.alone());
    }
    return new Sharing(groups.data(), whole ? groups.tensor() : Group.alone());
  }

  /**
   * Whether this rank is the one that counts its elements, where each of the world's is to be
   * counted once.
   *
   * @param divided whether the ranks of {@code summed} have each a part of what is counted
   */
  public boolean countsHere(boolean divided) {
    return alike.rank() == 0 && (divided || summed.rank() == 0);
  }

  /** Deals parameters out among the ranks that hold them: whether this one has the n-th. */
  public boolean isDealt(int n) {
    return n % (summed.size() * alike.size()) == summed.rank() * alike.size() + alike.rank();
  }
}
