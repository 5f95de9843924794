package moe4j.kernels.optimizer;

import java.util.List;
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

  /**
   * The types of the first and of the second moment, of the slots in which they are not fp32, as
   * adamw.cu is compiled for them.
   */
  static String[] defines(List<FusedAdamW.Slot> slots) {
    MomentType first = FP32;
    MomentType second = FP32;
    for (int i = 0; i < slots.size(); i++) {
      FusedAdamW.Slot slot = slots.get(i);
      if (slot.isLow()) {
        boolean other = first != FP32 || second != FP32;
        if (other && (first != slot.expAvg().type() || second != slot.expAvgSq().type())) {
          throw new IllegalArgumentException(
              "slot %d: its moments are in %s and %s, and another slot's in %s and %s"
                  .formatted(i, slot.expAvg().type(), slot.expAvgSq().type(), first, second));
        }
        first = slot.expAvg().type();
        second = slot.expAvgSq().type();
      }
    }
    return new String[] {"FIRST=" + first.kernel(), "SECOND=" + second.kernel()};
  }
}
