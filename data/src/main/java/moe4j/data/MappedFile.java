package moe4j.data;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * A read-only file in memory, little-endian, of any size: a {@code ByteBuffer} ends at 2 GiB, so it
 * is mapped in chunks, and a value may lie across two of them.
 */
final class MappedFile {
  /** 1 GiB. */
  static final int CHUNK_BITS = 30;

  private final ByteBuffer[] chunks;
  private final int chunkBits;
  private final long size;

  /** Tells the length: a channel would close where a reader's thread is interrupted. */
  private final RandomAccessFile file;

  private MappedFile(ByteBuffer[] chunks, int chunkBits, long size, RandomAccessFile file) {
    this.chunks = chunks;
    this.chunkBits = chunkBits;
    this.size = size;
    this.file = file;
  }

  static MappedFile open(Path path, int chunkBits) throws IOException {
    try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ)) {
      long size = file.size();
      long chunkSize = 1L << chunkBits;
      ByteBuffer[] chunks = new ByteBuffer[Math.toIntExact((size + chunkSize - 1) >> chunkBits)];
      for (int i = 0; i < chunks.length; i++) {
        long from = i * chunkSize;
        chunks[i] =
            file.map(FileChannel.MapMode.READ_ONLY, from, Math.min(chunkSize, size - from))
                .order(ByteOrder.LITTLE_ENDIAN);
      }
      return new MappedFile(chunks, chunkBits, size, new RandomAccessFile(path.toFile(), "r"));
    }
  }

  long size() {
    return size;
  }

  /**
   * The bytes there are now. Where a file has lost its end, a read gives zeros or an {@link
   * InternalError}; so readers ask for this afterwards.
   */
  long sizeNow() throws IOException {
    return file.length();
  }

  byte getByte(long at) {
    return chunk(at).get(within(at));
  }

  short getShort(long at) {
    return fits(at, Short.BYTES) ? chunk(at).getShort(within(at)) : (short) across(at, Short.BYTES);
  }

  int getInt(long at) {
    return fits(at, Integer.BYTES) ? chunk(at).getInt(within(at)) : (int) across(at, Integer.BYTES);
  }

  long getLong(long at) {
    return fits(at, Long.BYTES) ? chunk(at).getLong(within(at)) : across(at, Long.BYTES);
  }

  private ByteBuffer chunk(long at) {
    return chunks[(int) (at >>> chunkBits)];
  }

  private int within(long at) {
    return (int) (at & ((1L << chunkBits) - 1));
  }

  private boolean fits(long at, int bytes) {
    return within(at) + bytes <= chunk(at).limit();
  }

  private long across(long at, int bytes) {
    long value = 0;
    for (int i = 0; i < bytes; i++) {
      value |= (getByte(at + i) & 0xffL) << (8 * i);
    }
    return value;
  }
}
