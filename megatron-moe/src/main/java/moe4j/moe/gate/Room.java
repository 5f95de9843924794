package moe4j.moe.gate;

/**
 * The room for rows that the capacity flags ask each expert to have. Each gate takes it in its own
 * way.
 *
 * @param factor an expert's rows divided by the mean of all experts', or null where the flags ask
 *     for no capacity
 * @param policy which choices are kept
 * @param padded whether every expert gets exactly as many rows
 */
public record Room(Double factor, Capacity.Policy policy, boolean padded) {
  /** The room where no flag asks for a capacity. */
  public static final Room UNASKED = new Room(null, Capacity.Policy.PROBS, false);

  /** The capacity of Megatron's router: null where all rows are taken. */
  public Capacity capacity() {
    return factor == null ? null : new Capacity(factor, policy, padded);
  }

  /** The rates for FastMoE's gates; where no factor is given, FastMoE's own. */
  public Quota quota() {
    return factor == null
        ? new Quota(Quota.DEFAULT.training(), Quota.DEFAULT.evaluation(), padded)
        : new Quota(factor, factor, padded);
  }

  /** The factor, or 1 where none is given. */
  public double factorOrOne() {
    return factor == null ? 1 : factor;
  }
}
