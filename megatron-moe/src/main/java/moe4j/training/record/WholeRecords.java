package moe4j.training.record;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Path;

/**
 * Records behind each other in a file, each handed to the operating system at once and each there
 * whole or not at all: what a full disk took of one is taken back, so that later ones can follow
 * when there is space again.
 */
final class WholeRecords implements Closeable {
  private final Path file;
  private final FileChannel channel;
  private long end;

  /**
   * Goes on at a file's end.
   *
   * @param channel the file, open for writing and positioned at its end
   */
  WholeRecords(Path file, FileChannel channel) throws IOException {
    this.file = file;
    this.channel = channel;
    this.end = channel.size();
  }

  Path file() {
    return file;
  }

  /**
   * Appends a record.
   *
   * @throws IOException in one sentence that names the file
   */
  void append(byte[] record) throws IOException {
    try {
      takeBack();
      ByteBuffer bytes = ByteBuffer.wrap(record);
      while (bytes.hasRemaining()) {
        channel.write(bytes);
      }
      end += record.length;
    } catch (IOException e) {
      try {
        takeBack();
      } catch (IOException later) {
        // The next record tries again before it is written.
        e.addSuppressed(later);
      }
      throw named(file, e);
    }
  }

  private void takeBack() throws IOException {
    if (channel.size() > end) {
      channel.truncate(end);
    }
  }

  /** The same failure in a sentence that names the file: a write's own says the reason alone. */
  static IOException named(Path file, IOException e) {
    String reason =
        e instanceof FileSystemException f && f.getReason() != null
            ? f.getReason()
            : e.getMessage() == null ? e.toString() : e.getMessage();
    return new IOException(file + ": " + reason, e);
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
