package moe4j.moe.gate;

/**
 * What is asked for of the room that experts have, which each gate takes in its own way.
 *
 * @param factor rows over the mean of all experts, or null where nothing is asked for
 * @param policy which choices are kept
 * @param padded whether every expert gets exactly as many rows
 */
public record Room(Double factor, Capacity.Policy policy, boolean padded) {
  /** Nothing is asked for. */
  public static final Room UNASKED = new Room(null, Capacity.Policy.PROBS, false);

  /** The capacity of Megatron's router: null where all rows are taken. */
  public Capacity capacity() {
    return factor == null ? null : new Capacity(factor, policy, padded);
  }

  /** The rates of FastMoE's gates, which are its own where none is asked for. */
  public Quota quota() {
    return factor == null
        ? new Quota(Quota.DEFAULT.training(), Quota.DEFAULT.evaluation(), padded)
        : new Quota(factor, factor, padded);
  }

  /** The factor, or 1 where none is asked for. */
  public double factorOrOne() {
    return factor == null ? 1 : factor;
  }
}
