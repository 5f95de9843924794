package moe4j.cost;

/**
 * Parameters, by who has them; each is counted once.
 *
 * @param split of which each tensor-parallel rank has a part
 * @param whole that each rank has
 * @param expertSplit of all experts, divided among those who share the experts and each expert
 * @param expertWhole of all experts, divided among those who share the experts
 */
public record Parameters(long split, long whole, long expertSplit, long expertWhole) {

  /** Nothing to learn. */
  public static final Parameters NONE = new Parameters(0, 0, 0, 0);

  /** These and others. */
  public Parameters plus(Parameters other, long times) {
    return new Parameters(
        split + times * other.split,
        whole + times * other.whole,
        expertSplit + times * other.expertSplit,
        expertWhole + times * other.expertWhole);
  }

  /** Those of experts. */
  public long experts() {
    return expertSplit + expertWhole;
  }

  /** All of them. */
  public long total() {
    return split + whole + experts();
  }
}
