package moe4j.data;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.stream.Collectors;

/** NumPy's {@code .npy} files, format 1.0, of the integer types that Megatron's indices have. */
final class Npy {
  private static final byte[] MAGIC = {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  private static final int CHUNK = 1 << 20;

  private Npy() {}

  /** An element's type, as the header spells it. */
  enum Type {
    I16("<i2", 2),
    I32("<i4", 4),
    U32("<u4", 4),
    I64("<i8", 8);

    final String descr;
    final int size;

    Type(String descr, int size) {
      this.descr = descr;
      this.size = size;
    }
  }

  /**
   * One array of a file.
   *
   * @param values {@code short[]}, {@code int[]} or {@code long[]}, as the type's size has it
   * @param shape its product is the number of values
   */
  @SuppressWarnings("ArrayRecordComponent") // a pointer to what is written: nobody compares two
  record NpyArray(Type type, Object values, int... shape) {}

  /** Writes an array into an empty file. */
  static void write(FileChannel file, NpyArray array) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocateDirect(CHUNK).order(ByteOrder.LITTLE_ENDIAN);
    buffer.put(header(array.type, array.shape));
    int size = array.type.size;
    long count = count(array.shape);
    for (long at = 0; ; ) {
      int n = (int) Math.min(count - at, buffer.remaining() / size);
      switch (size) {
        case 2 -> buffer.asShortBuffer().put((short[]) array.values, (int) at, n);
        case 4 -> buffer.asIntBuffer().put((int[]) array.values, (int) at, n);
        default -> buffer.asLongBuffer().put((long[]) array.values, (int) at, n);
      }
      buffer.position(buffer.position() + n * size).flip();
      while (buffer.hasRemaining()) {
        file.write(buffer);
      }
      buffer.clear();
      at += n;
      if (at == count) {
        return;
      }
    }
  }

  /**
   * Reads an array whose type and shape are known.
   *
   * @return {@code short[]}, {@code int[]} or {@code long[]}, as the type's size has it
   * @throws IOException if the header or the file's size is another
   */
  static Object read(Path path, Type type, int... shape) throws IOException {
    try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ)) {
      byte[] header = header(type, shape);
      long count = count(shape);
      long expected = header.length + count * type.size;
      ByteBuffer found = ByteBuffer.allocate((int) Math.min(header.length, file.size()));
      readFully(file, found);
      if (!Arrays.equals(header, found.array())) {
        throw new IOException(
            "%s does not begin as an array %s of shape %s does"
                .formatted(path, type.descr, shape(shape)));
      }
      if (file.size() != expected) {
        throw new IOException("%s has %d bytes, not %d".formatted(path, file.size(), expected));
      }
      return values(file, type.size, (int) count);
    }
  }

  private static Object values(FileChannel file, int size, int count) throws IOException {
    Object values =
        switch (size) {
          case 2 -> new short[count];
          case 4 -> new int[count];
          default -> new long[count];
        };
    ByteBuffer buffer = ByteBuffer.allocateDirect(CHUNK).order(ByteOrder.LITTLE_ENDIAN);
    for (int at = 0; at < count; ) {
      int n = Math.min(count - at, CHUNK / size);
      buffer.clear().limit(n * size);
      readFully(file, buffer);
      buffer.flip();
      switch (size) {
        case 2 -> buffer.asShortBuffer().get((short[]) values, at, n);
        case 4 -> buffer.asIntBuffer().get((int[]) values, at, n);
        default -> buffer.asLongBuffer().get((long[]) values, at, n);
      }
      at += n;
    }
    return values;
  }

  private static void readFully(FileChannel file, ByteBuffer to) throws IOException {
    while (to.hasRemaining()) {
      if (file.read(to) < 0) {
        throw new IOException("the file ended while it was read");
      }
    }
  }

  /**
   * NumPy writes one header for a type and shape, so that comparing bytes is enough to parse it.
   */
  private static byte[] header(Type type, int... shape) {
    String dict =
        "{'descr': '%s', 'fortran_order': False, 'shape': %s, }"
            .formatted(type.descr, shape(shape));
    // NumPy leaves room for a shape that grows, up to 21 digits in its first dimension.
    String room = " ".repeat(21 - Integer.toString(shape[0]).length());
    int unpadded = MAGIC.length + Short.BYTES + dict.length() + room.length() + 1;
    String text = dict + room + " ".repeat((64 - unpadded % 64) % 64) + "\n";
    return ByteBuffer.allocate(MAGIC.length + Short.BYTES + text.length())
        .order(ByteOrder.LITTLE_ENDIAN)
        .put(MAGIC)
        .putShort((short) text.length())
        .put(text.getBytes(StandardCharsets.US_ASCII))
        .array();
  }

  private static String shape(int... shape) {
    return Arrays.stream(shape)
        .mapToObj(Integer::toString)
        .collect(Collectors.joining(", ", "(", shape.length == 1 ? ",)" : ")"));
  }

  private static long count(int... shape) {
    return Arrays.stream(shape).asLongStream().reduce(1, (a, b) -> a * b);
  }
}
