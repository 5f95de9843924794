package moe4j.record;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Objects;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * Records behind each other in a file, each handed to the operating system at once and each there
 * whole or not at all: what a full disk took of one is taken back, so that later ones can follow
 * when there is space again.
 *
 * <p>A file that is removed while it is written, or another put in its place, is written again with
 * all that was in it: what is open can still be read then.
 */
public final class WholeRecords implements Closeable {
  private static final Logger LOG = LogManager.getLogger(WholeRecords.class);

  private final Path file;
  private FileChannel channel;
  private FileChannel reader;
  private Object key;
  private long end;

  /**
   * Goes on at a file's end.
   *
   * @param channel the file, open for writing and positioned at its end
   */
  public WholeRecords(Path file, FileChannel channel) throws IOException {
    this.file = file;
    this.channel = channel;
    this.reader = FileChannel.open(file, StandardOpenOption.READ);
    this.key = key(file);
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
  public void append(byte[] record) throws IOException {
    try {
      if (!Objects.equals(key(file), key)) {
        writeAgain();
      }
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

  /** Which file a path leads to; null where no file is there. */
  private static Object key(Path path) throws IOException {
    try {
      Object key = Files.readAttributes(path, BasicFileAttributes.class).fileKey();
      // Windows has no such key, but does not remove files that are open either.
      return key == null ? path : key;
    } catch (NoSuchFileException e) {
      return null;
    }
  }

  private void writeAgain() throws IOException {
    Files.createDirectories(file.toAbsolutePath().getParent());
    Path beside = file.resolveSibling(file.getFileName() + ".tmp");
    try (FileChannel copy =
        FileChannel.open(
            beside,
            StandardOpenOption.CREATE,
            StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE)) {
      for (long done = 0; done < end; ) {
        long more = reader.transferTo(done, end - done, copy);
        if (more <= 0) {
          throw new IOException("what was in it can no longer be read");
        }
        done += more;
      }
    }
    String instead = "";
    if (Files.exists(file)) {
      Path other = free();
      Files.move(file, other);
      instead = ", and the file in its place is %s now".formatted(other.getFileName());
    }
    Files.move(beside, file, StandardCopyOption.ATOMIC_MOVE);
    close();
    channel = FileChannel.open(file, StandardOpenOption.WRITE, StandardOpenOption.APPEND);
    reader = FileChannel.open(file, StandardOpenOption.READ);
    key = key(file);
    LOG.warn(
        "{} was removed while the run writes it: it is written again, with all that was"
            + " recorded so far{}",
        file,
        instead);
  }

  private Path free() {
    Path other = file;
    for (int number = 1; Files.exists(other); number++) {
      other = file.resolveSibling(file.getFileName() + ".other-" + number);
    }
    return other;
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
    reader.close();
    channel.close();
  }
}
