package moe4j.parallel;

import moe4j.config.Ranges;

/**
 * The experts that a rank has, neighbours by their global numbers.
 *
 * @param first the lowest number
 * @param count how many
 */
public record ExpertRange(int first, int count) {

  /** All of a layer's experts. */
  public static ExpertRange all(int experts) {
    return new ExpertRange(0, experts);
  }

  /**
   * This rank's share of a layer's experts.
   *
   * @throws IllegalArgumentException where they cannot be shared out evenly
   */
  public static ExpertRange of(int experts, Group group) {
    if (experts % group.size() != 0) {
      throw new IllegalArgumentException(
          "--num-experts %d is no multiple of --expert-model-parallel-size %d%s"
              .formatted(experts, group.size(), Ranges.division(experts, group.size())));
    }
    int each = experts / group.size();
    return new ExpertRange(group.rank() * each, each);
  }
}
