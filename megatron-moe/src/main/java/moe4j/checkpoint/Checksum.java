package moe4j.checkpoint;

import java.nio.ByteBuffer;
import java.util.Locale;
import java.util.zip.CRC32C;

/**
 * The checksum of a checkpoint's files: CRC-32C. It guards against decay and torn writes, not
 * against malice, and x86-64 and ARMv8 have an instruction for it that the JDK uses: several GB/s a
 * core, faster than the disks below it. The algorithm's name is part of the text, so that another
 * can follow.
 */
final class Checksum {
  private final CRC32C crc = new CRC32C();

  void update(ByteBuffer bytes) {
    crc.update(bytes);
  }

  static String of(byte[] bytes) {
    Checksum checksum = new Checksum();
    checksum.update(ByteBuffer.wrap(bytes));
    return checksum.toString();
  }

  @Override
  public String toString() {
    return String.format(Locale.ROOT, "crc32c:%08x", crc.getValue());
  }
}
