package moe4j.data;

import java.nio.ByteBuffer;

/**
 * How a {@code .bin} file stores a token; {@code code} is the byte that stands in the {@code .idx}.
 */
public enum DType {
  U8(1, 1, "uint8", 0, 0xff),
  I8(2, 1, "int8", Byte.MIN_VALUE, Byte.MAX_VALUE),
  I16(3, 2, "int16", Short.MIN_VALUE, Short.MAX_VALUE),
  I32(4, 4, "int32", Integer.MIN_VALUE, Integer.MAX_VALUE),
  I64(5, 8, "int64", Long.MIN_VALUE, Long.MAX_VALUE),
  F64(6, 8, "float64", -(1L << 53), 1L << 53),
  F32(7, 4, "float32", -(1L << 24), 1L << 24),
  U16(8, 2, "uint16", 0, 0xffff);

  /** The byte in the {@code .idx} header. */
  public final int code;

  /** Bytes a token. */
  public final int size;

  /** NumPy's name. */
  public final String numpyName;

  /** The least and greatest integer between which every integer is stored exactly. */
  final long min;

  final long max;

  DType(int code, int size, String numpyName, long min, long max) {
    this.code = code;
    this.size = size;
    this.numpyName = numpyName;
    this.min = min;
    this.max = max;
  }

  /** Megatron's choice for a vocabulary: uint16 below 65500 ids, else int32. */
  public static DType forVocab(int vocabSize) {
    return vocabSize < 65500 ? U16 : I32;
  }

  /** The dtype of a header's code, or null. */
  static DType ofCode(int code) {
    for (DType dtype : values()) {
      if (dtype.code == code) {
        return dtype;
      }
    }
    return null;
  }

  /** Appends a value that lies within {@code min..max}. */
  void put(ByteBuffer to, int value) {
    switch (this) {
      case U8, I8 -> to.put((byte) value);
      case U16, I16 -> to.putShort((short) value);
      case I32 -> to.putInt(value);
      case I64 -> to.putLong(value);
      case F32 -> to.putFloat(value);
      case F64 -> to.putDouble(value);
    }
  }

  /** The token at byte {@code at}; NaN cannot be one, and neither can a fraction. */
  long get(MappedFile from, long at) {
    return switch (this) {
      case U8 -> from.getByte(at) & 0xff;
      case I8 -> from.getByte(at);
      case U16 -> from.getShort(at) & 0xffff;
      case I16 -> from.getShort(at);
      case I32 -> from.getInt(at);
      case I64 -> from.getLong(at);
      case F32 -> integer(Float.intBitsToFloat(from.getInt(at)), at);
      case F64 -> integer(Double.longBitsToDouble(from.getLong(at)), at);
    };
  }

  private static long integer(double value, long at) {
    if (value != (long) value) {
      throw new ArithmeticException("the value at byte %d is %s".formatted(at, value));
    }
    return (long) value;
  }
}
