package moe4j.cost;

/**
 * Numbers of parameters, by the ranks that have them. Each parameter is counted once, however many
 * ranks have it.
 *
 * @param split parameters of which each tensor-parallel rank has a part
 * @param whole parameters that every rank has
 * @param expertSplit all experts' parameters that are divided among the ranks that share the
 *     experts (EP) and among those that share each expert (ETP)
 * @param expertWhole all experts' parameters that are divided among the former only
 */
public record Parameters(long split, long whole, long expertSplit, long expertWhole) {

  /** No parameters. */
  public static final Parameters NONE = new Parameters(0, 0, 0, 0);

  /** The sum of these and of others, which there are several times. */
  public Parameters plus(Parameters other, long times) {
    return new Parameters(
        split + times * other.split,
        whole + times * other.whole,
        expertSplit + times * other.expertSplit,
        expertWhole + times * other.expertWhole);
  }

  /** All experts' parameters. */
  public long experts() {
    return expertSplit + expertWhole;
  }

  /** All parameters. */
  public long total() {
    return split + whole + experts();
  }
}
