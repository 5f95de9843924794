package moe4j.cost;

/** The ranks among which a row's channels are divided. */
public enum DividedAmong {
  /** Every rank has all of them. */
  WHOLE,
  /** Each tensor-parallel rank has a part. */
  TENSOR,
  /** Each of the ranks that share an expert has a part. */
  EXPERT_TENSOR
}
