package moe4j.plan;

import moe4j.cost.Parameters;

/**
 * Parameters of one rank. Column-parallel weights and their biases, row-parallel weights and the
 * vocabulary are split by TP, the rest (norms, row-parallel biases, positions, gates) is whole on
 * each rank; a rank has an EP-th of the experts, an ETP-th of each.
 *
 * @param split this rank's part of the parameters that TP splits
 * @param whole parameters that every rank of a TP group has
 * @param expertSplit of this rank's experts, its part of the parameters that ETP splits
 * @param expertWhole of this rank's experts, the parameters that every rank of an ETP group has:
 *     the second biases
 * @param tp TP
 * @param ep EP
 * @param etp ETP
 */
public record ParameterCount(
    long split, long whole, long expertSplit, long expertWhole, int tp, int ep, int etp) {

  /** The count of one rank in a layout whose sizes divide the model's. */
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

  /** The rank's parameters without experts', which all ranks of its DP group have. */
  public long dense() {
    return split + whole;
  }

  /** The rank's experts' parameters, which all ranks of its expert DP group have. */
  public long experts() {
    return expertSplit + expertWhole;
  }

  /** All of the rank's parameters. */
  public long rank() {
    return dense() + experts();
  }

  /** The whole model's parameters, each counted once. */
  public long model() {
    return split * tp + whole + (expertSplit * etp + expertWhole) * ep;
  }
}
