package moe4j.cost;

/**
 * Numbers in memory or on their way: for each row as many as a width.
 *
 * @param rows how many rows there are, and which rank has them
 * @param width how many numbers a row has, and among whom they are divided
 * @param unit how many bytes a number takes
 */
public record Amount(Rows rows, Width width, Unit unit) {

  /** How many bytes a number takes. */
  public enum Unit {
    /** An element in the model's type: two bytes in bf16, four in fp32. */
    ELEMENT,
    /** Four bytes. */
    FLOAT,
    /** One byte. */
    BYTE
  }

  /** Numbers in the model's type. */
  public static Amount elements(Rows rows, Width width) {
    return new Amount(rows, width, Unit.ELEMENT);
  }

  /** Numbers in fp32. */
  public static Amount floats(Rows rows, Width width) {
    return new Amount(rows, width, Unit.FLOAT);
  }

  /** Bytes. */
  public static Amount bytes(Rows rows, Width width) {
    return new Amount(rows, width, Unit.BYTE);
  }

  /**
   * How many bytes of it one rank has.
   *
   * @param element bytes of an element in the model's type
   */
  public double on(Placement placement, int element) {
    int each =
        switch (unit) {
          case ELEMENT -> element;
          case FLOAT -> 4;
          case BYTE -> 1;
        };
    return rows.on(placement) * width.on(placement) * each;
  }
}
