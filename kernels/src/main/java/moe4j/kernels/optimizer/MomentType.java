package moe4j.kernels.optimizer;

import java.util.Locale;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** How a moment of AdamW's is kept; it is computed in fp32 in any case. */
public enum MomentType {
  /** As it is computed. */
  FP32(ScalarType.Float, "float"),

  /** Rounded up or down by a draw, so that its mean is the number. */
  BF16(ScalarType.BFloat16, "bf16"),

  /** 8-bit floats, rounded likewise, of which 256 neighbours share a scale. */
  FP8(ScalarType.Byte, "fp8");

  private final ScalarType stored;
  private final String kernel;

  MomentType(ScalarType stored, String kernel) {
    this.stored = stored;
    this.kernel = kernel;
  }

  /** The type of its tensor. */
  ScalarType stored() {
    return stored;
  }

  /** Its type in adamw.cu. */
  String kernel() {
    return kernel;
  }

  /** Its name in flags, such as fp8. */
  public String word() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The type of a flag's value. */
  public static MomentType of(String word) {
    return valueOf(word.toUpperCase(Locale.ROOT));
  }

  /** Bytes an element takes, scales among them. */
  public double bytes() {
    return switch (this) {
      case FP32 -> 4;
      case BF16 -> 2;
      case FP8 -> 1 + 4.0 / Moment.BLOCK;
    };
  }
}
