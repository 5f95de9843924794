package moe4j.kernels.check;

import org.bytedeco.pytorch.global.torch.ScalarType;

/** The types that kernels compute in, and how far from fp64 they may be. */
public enum Type {
  FP32(ScalarType.Float, 1e-5),
  BF16(ScalarType.BFloat16, 1e-2);

  private final ScalarType dtype;
  private final double bound;

  Type(ScalarType dtype, double bound) {
    this.dtype = dtype;
    this.bound = bound;
  }

  /** libtorch's name of the type. */
  public ScalarType dtype() {
    return dtype;
  }

  /** The largest relative error that a comparison may find, by Frobenius norms. */
  public double bound() {
    return bound;
  }

  @Override
  public String toString() {
    return name().toLowerCase(java.util.Locale.ROOT);
  }
}
