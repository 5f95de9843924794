package moe4j.training.record;

import java.util.Locale;
import java.util.Optional;

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

  /**
   * The published dense peak of an NVIDIA GPU: tensor cores for bf16, plain fp32 (no TF32) for
   * fp32; from the architecture white papers of H100 and A100.
   *
   * @param device the name CUDA reports, such as {@code NVIDIA H100 80GB HBM3}
   * @return nothing for a CPU or an unknown device: then MFU is left out
   */
  public static Optional<Peak> of(String device, Precision precision) {
    String name = device.toUpperCase(Locale.ROOT);
    boolean bf16 = precision == Precision.BF16;
    double teraflops;
    if (name.contains("H100") && name.contains("PCIE")) {
      teraflops = bf16 ? 756.0 : 51.2;
    } else if (name.contains("H100") && name.contains("NVL")) {
      teraflops = bf16 ? 835.5 : 60.0;
    } else if (name.contains("H100") || name.contains("H200") || name.contains("GH200")) {
      teraflops = bf16 ? 989.4 : 66.9;
    } else if (name.contains("A100")) {
      teraflops = bf16 ? 312.0 : 19.5;
    } else {
      return Optional.empty();
    }
    return Optional.of(
        new Peak(device + " " + precision.name().toLowerCase(Locale.ROOT), teraflops * 1e12));
  }

  /** The share of this peak that a rate reaches, in percent. */
  public double percent(double flopsPerSecond) {
    return 100 * flopsPerSecond / flops;
  }

  /** {@code 989.4 TFLOP/s (NVIDIA H200 bf16)}. */
  @Override
  public String toString() {
    return PythonFormat.fixed(flops / 1e12, flops < 10e12 ? 3 : 1) + " TFLOP/s (" + name + ")";
  }
}
