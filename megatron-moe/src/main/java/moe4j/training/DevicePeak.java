package moe4j.training;

import moe4j.kernels.MatmulPeak;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.cuda.Cuda;
import moe4j.training.record.GpuPeaks;
import moe4j.training.record.Peak;
import moe4j.training.record.Precision;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What MFU is a share of. */
public final class DevicePeak {
  private DevicePeak() {}

  /**
   * A GPU's peak by its data sheet; otherwise, and of every CPU, what a matrix product reaches here
   * and now.
   *
   * @param dtype bf16 or fp32
   */
  public static Peak of(ScalarType dtype, Device device) {
    Precision precision = dtype == ScalarType.BFloat16 ? Precision.BF16 : Precision.FP32;
    String matmul = precision == Precision.BF16 ? "bf16" : "fp32";
    if (device.is_cuda()) {
      String name = Cuda.name();
      return GpuPeaks.of(name, precision)
          .orElseGet(
              () ->
                  new Peak(
                      "%s, measured %d-cubed %s matmul"
                          .formatted(name, MatmulPeak.GPU_SIZE, matmul),
                      MatmulPeak.measure(dtype, device, MatmulPeak.GPU_SIZE)));
    }
    return new Peak(
        "measured %d-cubed %s matmul, %d threads"
            .formatted(MatmulPeak.SIZE, matmul, NativeLibraries.threads()),
        MatmulPeak.measure(dtype, device));
  }
}
