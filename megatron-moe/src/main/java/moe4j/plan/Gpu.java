package moe4j.plan;

import java.util.List;
import moe4j.record.GpuPeaks;
import moe4j.record.Precision;

/**
 * A kind of GPU, by its data sheet.
 *
 * @param name as {@code --gpu} takes it
 * @param memory bytes that CUDA reports in all, roughly
 * @param bandwidth of its memory, bytes a second
 * @param intraNode bytes a second that it sends to the others of its node
 * @param interNode bytes a second that it sends to other nodes
 */
public record Gpu(
    String name, double memory, double bandwidth, double intraNode, double interNode) {

  /** Bytes of a GiB. */
  public static final double GIB = 1L << 30;

  /**
   * The share of NVLink's data sheet that collectives reach: between two H200s gathers and scatters
   * of 50 MB get 185 to 195 GB/s, an all-reduce of 64 MiB 229. More GPUs of a node may get more,
   * which was not measured.
   */
  private static final double OF_NVLINK = 0.44;

  /** The same of a network's adapter: an assumption, since nothing was measured between nodes. */
  private static final double OF_NETWORK = 0.8;

  /**
   * Memory is roughly what CUDA reports for a card of that name (80 GB for A100 and H100, 141 for
   * H200, 180 for B200), bandwidth and NVLink are the data sheets', NVLink one way: half of the sum
   * that they print. Networks are those of NVIDIA's DGX machines, an adapter a GPU: 200 Gbit/s for
   * A100, 400 for the others.
   */
  private static final List<Gpu> KNOWN =
      List.of(
          of("h200", 139.8, 4.8e12, 450e9, 50e9),
          of("h100", 79.1, 3.35e12, 450e9, 50e9),
          of("a100", 79.1, 2.039e12, 300e9, 25e9),
          of("b200", 178.3, 8e12, 900e9, 50e9));

  private static Gpu of(String name, double gib, double bandwidth, double intra, double inter) {
    return new Gpu(name, gib * GIB, bandwidth, OF_NVLINK * intra, OF_NETWORK * inter);
  }

  /**
   * The kind of GPU that {@code --gpu} names.
   *
   * @throws IllegalArgumentException if no known GPU has this name
   */
  public static Gpu named(String name) {
    return KNOWN.stream()
        .filter(gpu -> gpu.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "--gpu takes %s, not '%s'"
                        .formatted(
                            String.join(", ", KNOWN.stream().map(Gpu::name).toList()), name)));
  }

  /** The same kind with another size of its memory. */
  public Gpu withMemory(double bytes) {
    return new Gpu(name, bytes, bandwidth, intraNode, interNode);
  }

  /** The peak of matrix products in a model's type, FLOP/s: {@link GpuPeaks}'. */
  public double peak(boolean bf16) {
    return GpuPeaks.of(name, bf16 ? Precision.BF16 : Precision.FP32).orElseThrow().flops();
  }
}
