package moe4j.cost;

/**
 * So many numbers a row.
 *
 * @param unit what such a number takes
 */
public record Amount(Rows rows, Width width, Unit unit) {

  /** What a number takes. */
  public enum Unit {
    /** An element in the model's type. */
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
   * Bytes of one rank.
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
