package moe4j.record;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;

/** A protocol-buffer message under construction: only the field types that events need. */
final class ProtoBytes {
  private static final int VARINT = 0;
  private static final int FIXED64 = 1;
  private static final int LENGTH_DELIMITED = 2;
  private static final int FIXED32 = 5;

  private final ByteArrayOutputStream out = new ByteArrayOutputStream();

  ProtoBytes int64(int field, long value) {
    varint(((long) field << 3) | VARINT);
    varint(value);
    return this;
  }

  ProtoBytes float32(int field, float value) {
    varint(((long) field << 3) | FIXED32);
    out.writeBytes(littleEndian(Float.floatToRawIntBits(value), 4));
    return this;
  }

  ProtoBytes float64(int field, double value) {
    varint(((long) field << 3) | FIXED64);
    out.writeBytes(littleEndian(Double.doubleToRawLongBits(value), 8));
    return this;
  }

  ProtoBytes packed(int field, double[] values) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (double value : values) {
      bytes.writeBytes(littleEndian(Double.doubleToRawLongBits(value), 8));
    }
    return bytes(field, bytes.toByteArray());
  }

  ProtoBytes text(int field, String value) {
    return bytes(field, value.getBytes(StandardCharsets.UTF_8));
  }

  ProtoBytes message(int field, ProtoBytes value) {
    return bytes(field, value.toByteArray());
  }

  byte[] toByteArray() {
    return out.toByteArray();
  }

  private ProtoBytes bytes(int field, byte[] value) {
    varint(((long) field << 3) | LENGTH_DELIMITED);
    varint(value.length);
    out.writeBytes(value);
    return this;
  }

  private void varint(long value) {
    long rest = value;
    while ((rest & ~0x7fL) != 0) {
      out.write((int) ((rest & 0x7f) | 0x80));
      rest >>>= 7;
    }
    out.write((int) rest);
  }

  /** The low bytes of a number, the lowest first. */
  static byte[] littleEndian(long value, int count) {
    byte[] bytes = new byte[count];
    for (int i = 0; i < count; i++) {
      bytes[i] = (byte) (value >>> (8 * i));
    }
    return bytes;
  }
}
