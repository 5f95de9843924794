package moe4j.record;

import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * The peaks that NVIDIA's data sheets and architecture white papers give for its GPUs: dense,
 * without sparsity; for bf16 of the tensor cores with sums in fp32, for fp32 of the plain cores (no
 * TF32).
 */
public final class GpuPeaks {
  private record Sheet(Pattern name, double bf16, double fp32) {}

  /** TFLOP/s; the first whose words all stand in the name, in their order, counts. */
  private static final List<Sheet> SHEETS =
      List.of(
          sheet("GB200", 2500, 80),
          sheet("B200", 2250, 75),
          sheet("H200 NVL", 835.5, 60),
          sheet("(H200|GH200)", 989.4, 66.9),
          sheet("H100 PCIe", 756, 51.2),
          sheet("H100 NVL", 835.5, 60),
          sheet("H100", 989.4, 66.9),
          sheet("A100", 312, 19.5),
          sheet("L40S", 362, 91.6),
          sheet("RTX 4090", 165.2, 82.6));

  /** Parts of a GPU, and its namesakes for laptops and for some countries, which reach less. */
  private static final Pattern LESSER = Pattern.compile("(?i)\\b(MIG|Laptop|D)\\b");

  private GpuPeaks() {}

  private static Sheet sheet(String words, double bf16, double fp32) {
    String pattern = "(?i)\\b" + words.replace(" ", "\\b.*\\b") + "\\b";
    return new Sheet(Pattern.compile(pattern), bf16, fp32);
  }

  /**
   * A GPU's peak.
   *
   * @param device the name CUDA reports, such as {@code NVIDIA H100 80GB HBM3}
   * @return nothing for a GPU that is not listed, or a part of one: its peak is to be measured
   */
  public static Optional<Peak> of(String device, Precision precision) {
    if (LESSER.matcher(device).find()) {
      return Optional.empty();
    }
    boolean bf16 = precision == Precision.BF16;
    return SHEETS.stream()
        .filter(sheet -> sheet.name().matcher(device).find())
        .findFirst()
        .map(
            sheet ->
                new Peak(
                    device + (bf16 ? " bf16" : " fp32") + ", data sheet",
                    (bf16 ? sheet.bf16() : sheet.fp32()) * 1e12));
  }
}
