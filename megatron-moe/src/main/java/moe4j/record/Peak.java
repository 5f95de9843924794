package moe4j.record;

/**
 * What a device can do at best, dense: the denominator of model FLOPs utilisation.
 *
 * @param name device and precision, and how the figure was got where it is measured; no {@code |}
 * @param flops floating-point operations a second
 */
public record Peak(String name, double flops) {

  /** Checks that a share of it means something. */
  public Peak {
    if (!(flops > 0) || Double.isInfinite(flops)) {
      throw new IllegalArgumentException("peak of %s: %s FLOP/s".formatted(name, flops));
    }
  }

  /** Whether a rate is at most this peak; a higher rate shows that this is not the peak. */
  public boolean covers(double flopsPerSecond) {
    return flopsPerSecond <= flops;
  }

  /**
   * The share of this peak that a rate reaches, in percent.
   *
   * @throws IllegalArgumentException of a rate above it
   */
  public double percent(double flopsPerSecond) {
    if (!covers(flopsPerSecond)) {
      throw new IllegalArgumentException("%s FLOP/s are above %s".formatted(flopsPerSecond, this));
    }
    return 100 * flopsPerSecond / flops;
  }

  /** {@code 989.4 TFLOP/s (NVIDIA H200 bf16)}. */
  @Override
  public String toString() {
    return PythonFormat.fixed(flops / 1e12, flops < 10e12 ? 3 : 1) + " TFLOP/s (" + name + ")";
  }
}
