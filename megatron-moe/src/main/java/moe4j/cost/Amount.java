package moe4j.cost;

/**
 * Numbers in memory or on their way: for each row as many as a width.
 *
 * @param rows how many rows there are, and which rank has them
 * @param width how many numbers a row has, and among whom they are divided
 * @param unit how many bytes a number takes
 * @param most a limit in bytes on a rank: {@link Unit#BF16_ALONE} counts as 0 above it
 */
public record Amount(Rows rows, Width width, Unit unit, double most) {

  /** How many bytes a number takes. */
  public enum Unit {
    /** An element in the model's type: two bytes in bf16, four in fp32. */
    ELEMENT,
    /** Four bytes. */
    FLOAT,
    /** One byte. */
    BYTE,
    /** Two bytes in bf16, and none elsewhere: what kernels for bf16 alone have. */
    BF16_ALONE
  }

  /** Numbers in the model's type. */
  public static Amount elements(Rows rows, Width width) {
    return new Amount(rows, width, Unit.ELEMENT, Double.POSITIVE_INFINITY);
  }

  /** Numbers in fp32. */
  public static Amount floats(Rows rows, Width width) {
    return new Amount(rows, width, Unit.FLOAT, Double.POSITIVE_INFINITY);
  }

  /** Numbers in bf16 that are kept where that takes no more than so many bytes on a rank. */
  public static Amount bf16Alone(Rows rows, Width width, double most) {
    return new Amount(rows, width, Unit.BF16_ALONE, most);
  }

  /** Bytes. */
  public static Amount bytes(Rows rows, Width width) {
    return new Amount(rows, width, Unit.BYTE, Double.POSITIVE_INFINITY);
  }

  /**
   * How many bytes of it one rank has.
   *
   * @param element bytes of an element in the model's type
   */
  public double on(Placement placement, int element) {
    double numbers = rows.on(placement) * width.on(placement);
    return switch (unit) {
      case ELEMENT -> element * numbers;
      case FLOAT -> 4 * numbers;
      case BYTE -> numbers;
      case BF16_ALONE -> element == 2 && 2 * numbers <= most ? 2 * numbers : 0;
    };
  }
}
