package moe4j.record;

/** What a model's matrix products are computed in. */
public enum Precision {
  BF16,
  FP32
}
