package moe4j.cost;

/**
 * How many numbers each row has: mostly channels.
 *
 * @param channels how many on all ranks together
 * @param split among whom they are divided
 */
public record Width(double channels, DividedAmong split) {

  /** Channels that every rank has. */
  public static Width whole(double channels) {
    return new Width(channels, DividedAmong.WHOLE);
  }

  /** Channels of which each tensor-parallel rank has a part. */
  public static Width tensor(double channels) {
    return new Width(channels, DividedAmong.TENSOR);
  }

  /** Channels within an expert, of which each of the ranks that share it has a part. */
  public static Width expert(double channels) {
    return new Width(channels, DividedAmong.EXPERT_TENSOR);
  }

  /** How many of them one rank has. */
  public double on(Placement placement) {
    return switch (split) {
      case WHOLE -> channels;
      case TENSOR -> channels / placement.tensor();
      case EXPERT_TENSOR -> channels / placement.expertTensor();
    };
  }
}
