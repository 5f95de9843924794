package moe4j.training.step;

import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.DoubleSupplier;
import java.util.function.LongSupplier;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.product.MatmulPeak;
import moe4j.record.GpuPeaks;
import moe4j.record.Peak;
import moe4j.record.Precision;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What MFU is a share of. A GPU's peak is its data sheet's, or measured once. A CPU's is the best
 * that a matrix product reached, measured again and again as the run goes on: at any one time
 * others may have had the cores.
 */
public final class DevicePeak {
  /** Between two measurements; doubled after each, up to the longest. */
  private static final long FIRST_WAIT = TimeUnit.SECONDS.toNanos(2);

  private static final long LONGEST_WAIT = TimeUnit.SECONDS.toNanos(30);

  /** What a process's first run on a CPU measured, by its name: where later runs begin. */
  private static final Map<String, Peak> FIRST = new ConcurrentHashMap<>();

  private final DoubleSupplier measurement;
  private final LongSupplier nanoTime;
  private Peak best;
  private long measured;
  private long wait = FIRST_WAIT;

  private DevicePeak(Peak best, DoubleSupplier measurement, LongSupplier nanoTime) {
    this.best = best;
    this.measurement = measurement;
    this.nanoTime = nanoTime;
    this.measured = nanoTime.getAsLong();
  }

  /**
   * A device's.
   *
   * @param dtype bf16 or fp32
   */
  public static DevicePeak of(ScalarType dtype, Device device) {
    Precision precision = dtype == ScalarType.BFloat16 ? Precision.BF16 : Precision.FP32;
    String matmul = precision == Precision.BF16 ? "bf16" : "fp32";
    if (device.is_cuda()) {
      String name = Cuda.name();
      return new DevicePeak(
          GpuPeaks.of(name, precision)
              .orElseGet(
                  () ->
                      new Peak(
                          "%s, measured %d-cubed %s matmul"
                              .formatted(name, MatmulPeak.GPU_SIZE, matmul),
                          MatmulPeak.measure(dtype, device, MatmulPeak.GPU_SIZE))),
          null,
          System::nanoTime);
    }
    DoubleSupplier measurement = () -> MatmulPeak.measure(dtype, device);
    Peak first =
        FIRST.computeIfAbsent(
            "measured %d-cubed %s matmul, %d threads"
                .formatted(MatmulPeak.SIZE, matmul, NativeLibraries.threads()),
            name -> new Peak(name, measurement.getAsDouble()));
    return new DevicePeak(first, measurement, System::nanoTime);
  }

  /** The best of measurements that take some tens of milliseconds each. */
  static DevicePeak measured(String name, DoubleSupplier measurement, LongSupplier nanoTime) {
    return new DevicePeak(new Peak(name, measurement.getAsDouble()), measurement, nanoTime);
  }

  /** The best so far. */
  public Peak best() {
    return best;
  }

  /**
   * What a rate of now is a share of.
   *
   * @param flopsPerSecond a rate that was reached here
   * @return nothing where the rate is above all that was ever measured, so that the peak is not
   *     known
   */
  public Optional<Peak> above(double flopsPerSecond) {
    if (measurement != null
        && (flopsPerSecond > best.flops() || nanoTime.getAsLong() - measured >= wait)) {
      best = new Peak(best.name(), Math.max(best.flops(), measurement.getAsDouble()));
      measured = nanoTime.getAsLong();
      wait = Math.min(LONGEST_WAIT, 2 * wait);
    }
    return best.covers(flopsPerSecond) ? Optional.of(best) : Optional.empty();
  }
}
