package moe4j.checkpoint;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/**
 * Writes a safetensors file as a stream: the header first, then each tensor's bytes as they come.
 * Nothing is held but what is being written.
 */
public final class SafeTensorsWriter implements Closeable {
  /** Checksum, then write, in parts that stay in a core's cache between the two. */
  private static final int STEP = 1 << 18;

  private final FileChannel file;
  private final WritableByteChannel out;
  private final List<StoredTensor> tensors;
  private final Checksum checksum = new Checksum();
  private long bytes;
  private int next;

  /**
   * Creates the file and writes its header.
   *
   * @param file must not exist
   * @param tensors what it will hold, in this order
   * @param metadata text by name for {@code __metadata__}
   * @throws IllegalArgumentException where two tensors share a name
   */
  public SafeTensorsWriter(Path file, List<StoredTensor> tensors, Map<String, String> metadata)
      throws IOException {
    this(file, tensors, metadata, UnaryOperator.identity());
  }

  /** A writer that uses another disk, such as a test's disk that runs full. */
  SafeTensorsWriter(
      Path file,
      List<StoredTensor> tensors,
      Map<String, String> metadata,
      UnaryOperator<WritableByteChannel> wrapper)
      throws IOException {
    ByteBuffer header = SafeTensors.encode(tensors, metadata);
    this.tensors = List.copyOf(tensors);
    this.file = FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
    this.out = wrapper.apply(this.file);
    try {
      put(header);
    } catch (IOException | RuntimeException e) {
      close();
      throw e;
    }
  }

  /**
   * Writes the next tensor.
   *
   * @param name the next of the tensors given at the start
   * @throws IllegalStateException where it is another's turn, or the content is not of its size
   */
  public void write(String name, TensorSource.Content content) throws IOException {
    if (next == tensors.size() || !tensors.get(next).name().equals(name)) {
      throw new IllegalStateException("tensor " + name + " written out of turn");
    }
    StoredTensor tensor = tensors.get(next++);
    long end = bytes + tensor.bytes();
    content.writeTo(
        buffer -> {
          if (buffer.remaining() > end - bytes) {
            throw wrongSize(tensor, "more");
          }
          put(buffer);
        });
    if (bytes != end) {
      throw wrongSize(tensor, "fewer");
    }
  }

  /**
   * Ends the file: when this returns, the disk has it.
   *
   * @throws IllegalStateException where a tensor is missing
   */
  public void finish() throws IOException {
    if (next != tensors.size()) {
      throw new IllegalStateException("tensor " + tensors.get(next).name() + " was not written");
    }
    file.force(true);
  }

  /** Bytes written, header included. */
  public long bytes() {
    return bytes;
  }

  /** The checksum of all bytes written. */
  public String checksum() {
    return checksum.toString();
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  private void put(ByteBuffer buffer) throws IOException {
    for (int at = buffer.position(); at < buffer.limit(); at += STEP) {
      ByteBuffer part = buffer.slice(at, Math.min(STEP, buffer.limit() - at));
      checksum.update(part.duplicate());
      while (part.hasRemaining()) {
        bytes += out.write(part);
      }
    }
  }

  private static IllegalStateException wrongSize(StoredTensor tensor, String how) {
    return new IllegalStateException(
        "tensor " + tensor.name() + " gave " + how + " than its " + tensor.bytes() + " bytes");
  }
}
