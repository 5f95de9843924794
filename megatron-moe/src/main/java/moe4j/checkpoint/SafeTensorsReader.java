package moe4j.checkpoint;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Collections;
import java.util.Map;

/**
 * Reads a safetensors file of any size by positional reads: no byte is held that was not asked for,
 * a file cut short under the reader is an exception and not a signal, and threads may share it.
 */
public final class SafeTensorsReader implements Closeable {
  /** The largest single read: a heap buffer's goes through a native copy of that size. */
  private static final int STEP = 1 << 22;

  private final Path path;
  private final FileChannel file;
  private final long size;
  private final long dataStart;
  private final SafeTensors.Header header;

  private SafeTensorsReader(Path path, FileChannel file) throws IOException {
    this.path = path;
    this.file = file;
    this.size = file.size();
    if (size < SafeTensors.LENGTH_BYTES) {
      throw SafeTensors.foreign(path, "it has " + size + " bytes");
    }
    ByteBuffer start = ByteBuffer.allocate(SafeTensors.LENGTH_BYTES);
    readFully(0, start);
    long length = start.flip().order(ByteOrder.LITTLE_ENDIAN).getLong();
    if (length < 2
        || length > SafeTensors.MAX_HEADER_BYTES
        || length > size - SafeTensors.LENGTH_BYTES) {
      throw SafeTensors.foreign(
          path, "a header of " + Long.toUnsignedString(length) + " bytes in a file of " + size);
    }
    ByteBuffer text = ByteBuffer.allocate((int) length);
    readFully(SafeTensors.LENGTH_BYTES, text);
    this.header = SafeTensors.decode(path, text.array());
    this.dataStart = SafeTensors.LENGTH_BYTES + length;
    if (size - dataStart != header.dataBytes()) {
      throw new IOException(
          String.format(
              "%s holds %d bytes of tensors where its header says %d: it is %s",
              path,
              size - dataStart,
              header.dataBytes(),
              size - dataStart < header.dataBytes() ? "truncated" : "corrupt"));
    }
  }

  /**
   * Opens a file and checks its header against the file's size.
   *
   * @throws IOException where it cannot be read, is truncated, corrupt or of another format
   */
  public static SafeTensorsReader open(Path path) throws IOException {
    FileChannel file = Disk.openForReading(path);
    try {
      return new SafeTensorsReader(path, file);
    } catch (IOException | RuntimeException e) {
      file.close();
      throw e;
    }
  }

  /** The tensors by key, in the header's order. */
  public Map<String, StoredTensor> tensors() {
    return Collections.unmodifiableMap(header.tensors());
  }

  /** The header's {@code __metadata__}. */
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(header.metadata());
  }

  /** The file's size in bytes. */
  public long size() {
    return size;
  }

  /** Reads a slice of a tensor; {@code target} must have exactly its bytes remaining. */
  public void read(String key, Slice slice, ByteBuffer target) throws IOException {
    StoredTensor tensor = header.tensors().get(key);
    if (tensor == null) {
      throw new IllegalArgumentException(path + " holds no tensor " + key);
    }
    Slice whole = Slice.whole(tensor.shape());
    if (!slice.isInside(tensor.shape())
        || target.remaining() != slice.volume() * tensor.dtype().bytes()) {
      throw new IllegalArgumentException(
          String.format("%s of %s asked for into %d bytes", slice, tensor, target.remaining()));
    }
    readShared(key, whole, slice, target);
    target.position(target.limit());
  }

  /**
   * Reads what a stored piece and a wanted slice of the same global tensor share.
   *
   * @param target the wanted slice's memory from its position on; the position stays
   */
  void readShared(String key, Slice stored, Slice wanted, ByteBuffer target) throws IOException {
    StoredTensor tensor = header.tensors().get(key);
    int width = tensor.dtype().bytes();
    long start = dataStart + header.begins().get(key);
    RunReader runs = new RunReader(start + tensor.bytes());
    Slice.forEachRun(
        stored,
        wanted,
        (source, to, length) ->
            runs.read(
                start + source * width,
                target.slice(
                    Math.toIntExact(target.position() + to * width),
                    Math.toIntExact(length * width))));
  }

  /** Reads the whole file once and returns its checksum. */
  public String checksum() throws IOException {
    Checksum checksum = new Checksum();
    ByteBuffer buffer = ByteBuffer.allocateDirect((int) Math.min(1 << 20, size));
    for (long at = 0; at < size; at += buffer.limit()) {
      buffer.clear().limit((int) Math.min(buffer.capacity(), size - at));
      readFully(at, buffer);
      checksum.update(buffer.flip());
    }
    return checksum.toString();
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  private void readFully(long position, ByteBuffer target) throws IOException {
    int limit = target.limit();
    while (target.position() < limit) {
      target.limit(Math.min(limit, target.position() + STEP));
      int read = file.read(target, position);
      if (read < 0) {
        throw new IOException(path + " was truncated while it was read, at byte " + position);
      }
      position += read;
    }
    target.limit(limit);
  }

  /**
   * Reads ascending runs. A slice across the columns of a matrix is thousands of short ones: where
   * they lie close together they are read in one go with what lies between.
   */
  private final class RunReader {
    private static final int WINDOW = 1 << 18;
    private static final int LONG_RUN = 1 << 15;
    private static final int NEAR = 1 << 13;

    private final long end;
    private ByteBuffer window = ByteBuffer.allocate(0);
    private long windowStart;
    private long lastEnd = Long.MIN_VALUE / 2;

    RunReader(long end) {
      this.end = end;
    }

    void read(long position, ByteBuffer target) throws IOException {
      int length = target.remaining();
      if (length >= LONG_RUN || position - lastEnd > NEAR) {
        readFully(position, target);
      } else {
        if (position + length > windowStart + window.limit()) {
          if (window.capacity() == 0) {
            window = ByteBuffer.allocateDirect(WINDOW);
          }
          window.clear().limit((int) Math.min(WINDOW, end - position));
          readFully(position, window);
          windowStart = position;
        }
        target.put(window.slice((int) (position - windowStart), length));
      }
      lastEnd = position + length;
    }
  }
}
