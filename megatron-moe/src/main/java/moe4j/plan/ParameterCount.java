package moe4j.plan;

import moe4j.cost.Parameters;

/**
 * Parameters of one rank. Column-parallel weights and their biases, row-parallel weights and the
 * vocabulary are split by TP, the rest (norms, row-parallel biases, positions, gates) is whole on
 * each rank; a rank has an EP-th of the experts, an ETP-th of each.
 *
 * @param split of what TP splits, this rank's part
 * @param whole of what each rank of a TP group has
 * @param expertSplit of its experts, what ETP splits, this rank's part
 * @param expertWhole of its experts, what each rank of an ETP group has: the second biases
 */
public record ParameterCount(
    long split, long whole, long expertSplit, long expertWhole, int tp, int ep, int etp) {

  /** The count for sizes that divide what they are to divide. */
  public static ParameterCount of(PlannedModel model, int tp, int ep, int etp) {
    Parameters all = model.parameters();
    return new ParameterCount(
        all.split() / tp,
        all.whole(),
        all.expertSplit() / ep / etp,
        all.expertWhole() / ep,
        tp,
        ep,
        etp);
  }

  /** Parameters of the rank that its DP group shares. */
  public long dense() {
    return split + whole;
  }

  /** Parameters of the rank that its expert DP group shares. */
  public long experts() {
    return expertSplit + expertWhole;
  }

  /** All that the rank has. */
  public long rank() {
    return dense() + experts();
  }

  /** The model's, each counted once. */
  public long model() {
    return split * tp + whole + (expertSplit * etp + expertWhole) * ep;
  }
}
