package moe4j.kernels.bench;

import java.util.Locale;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.product.MatmulPeak;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What a device reached in this run at its two simplest operations, which says how fast any other
 * may be at best: a floor below its time.
 *
 * @param product what the large product is called, such as {@code 8192-cubed bf16 product}
 * @param flops floating-point operations a second of that product
 * @param bytes a second of a large copy, those that are read and those that are written
 */
public record Ceilings(String product, double flops, double bytes) {
  private static final long COPIED = 1L << 30;
  private static final long COPIED_ON_A_CPU = 1L << 27;
  private static final int WARMUP = 2;
  private static final int ROUNDS = 5;

  /**
   * Measures both, the best of a few rounds each, in some tenths of a second.
   *
   * @param dtype of the product, bf16 or fp32
   */
  public static Ceilings measure(ScalarType dtype, Device device) {
    int size = device.is_cuda() ? MatmulPeak.GPU_SIZE : MatmulPeak.SIZE;
    String type = dtype == ScalarType.BFloat16 ? "bf16" : "fp32";
    double flops = MatmulPeak.measure(dtype, device, size);
    Ceilings ceilings =
        new Ceilings("%d-cubed %s product".formatted(size, type), flops, copied(device));
    if (device.is_cuda()) {
      Cuda.emptyCache();
    }
    return ceilings;
  }

  private static double copied(Device device) {
    long size = device.is_cuda() ? COPIED : COPIED_ON_A_CPU;
    try (PointerScope scope = new PointerScope()) {
      Tensor from = Tensors.zeros(ScalarType.Byte, device, size);
      Tensor to = Tensors.zeros(ScalarType.Byte, device, size);
      WorkTimer timer = new WorkTimer(device, WARMUP, ROUNDS, 1, false);
      return 2.0 * size / timer.launched(() -> Scopes.run(() -> to.copy_(from))).least();
    }
  }

  /** The seconds that an operation takes at least: the larger of what its two costs take. */
  public double floor(BenchCase.Cost cost) {
    return Math.max(cost.flops() / flops, cost.bytes() / bytes);
  }

  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "ceilings measured in this run: %s %.3g TFLOP/s, copy %.1f GB/s",
        product,
        flops / 1e12,
        bytes / 1e9);
  }
}
