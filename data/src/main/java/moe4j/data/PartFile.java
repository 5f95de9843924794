package moe4j.data;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.Closeable;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.stream.Stream;

/**
 * A file that is written under a temporary name and given its own when it is whole. Its writer
 * holds the system's lock on it, which ends with the process, however that ends: so what a killed
 * run has left is told from what a running one writes.
 */
public final class PartFile implements Closeable {
  /** How often a file may vanish between being opened and being locked. */
  private static final int TRIES = 100;

  private final Path part;
  private final FileChannel channel;
  private boolean open = true;

  private PartFile(Path part, FileChannel channel) {
    this.part = part;
    this.channel = channel;
  }

  /** Another process, or another part of this one, writes the file. */
  public static final class HeldException extends IOException {
    private HeldException(Path part) {
      super("another process is writing it now (it holds the lock on %s)".formatted(part));
    }
  }

  /**
   * Makes the file, empty. One that a killed process has left is taken over, and told.
   *
   * @param notes takes a sentence of what was found
   * @throws HeldException if a process writes it now
   */
  public static PartFile open(Path part, Consumer<String> notes) throws IOException {
    for (int i = 0; i < TRIES; i++) {
      boolean left = Files.exists(part);
      String description = left ? Existing.describe(part) : "";
      if (PartFiles.isOpen(part)) {
        // Closing a second channel to a file would end this process's lock on it.
        throw new HeldException(part);
      }
      if (!left) {
        // Before it is there: an interrupt may come as soon as it is.
        PartFiles.begin(part);
      }
      FileChannel channel;
      try {
        channel = FileChannel.open(part, CREATE, WRITE);
      } catch (IOException e) {
        PartFiles.named(part);
        throw e;
      }
      try {
        if (lock(part, channel, left, notes)) {
          PartFiles.begin(part);
          if (left) {
            notes.accept(
                "%s was left by a run that was killed: it is deleted".formatted(description));
          }
          channel.truncate(0);
          return new PartFile(part, channel);
        }
        PartFiles.named(part);
        channel.close();
      } catch (IOException e) {
        // This process must not delete the file: it may be another's.
        PartFiles.named(part);
        channel.close();
        throw e;
      }
    }
    throw new HeldException(part);
  }

  /** Whether the locked file is the one of that name, and not one that has lost it meanwhile. */
  private static boolean lock(Path part, FileChannel channel, boolean left, Consumer<String> notes)
      throws IOException {
    Object before = key(part);
    try {
      if (tryLock(channel) == null) {
        throw new HeldException(part);
      }
    } catch (HeldException held) {
      throw held;
    } catch (IOException noLocks) {
      if (left) {
        throw new IOException(
            "%s is there, and as it cannot be locked (%s), nobody knows whether a run still writes it: delete it if none does"
                .formatted(Existing.describe(part), Reasons.of(noLocks)),
            noLocks);
      }
      notes.accept(
          "%s cannot be locked (%s): nothing keeps a second run from writing it too"
              .formatted(part, Reasons.of(noLocks)));
    }
    return before != null && before.equals(key(part));
  }

  private static FileLock tryLock(FileChannel channel) throws IOException {
    try {
      return channel.tryLock();
    } catch (OverlappingFileLockException mine) {
      return null;
    }
  }

  /** What the system calls the file of that name, or null if no such file exists. */
  private static Object key(Path path) throws IOException {
    try {
      Object key = Files.readAttributes(path, BasicFileAttributes.class).fileKey();
      return key == null ? path : key;
    } catch (NoSuchFileException gone) {
      return null;
    }
  }

  /**
   * Deletes what killed processes have left in a directory; files that are being written stay.
   *
   * @param names tells the temporary files by their names
   * @param notes takes a sentence for each that was deleted
   */
  public static void sweep(Path directory, Predicate<String> names, Consumer<String> notes)
      throws IOException {
    List<Path> parts;
    try (Stream<Path> files = Files.list(directory)) {
      parts =
          files
              .filter(file -> names.test(file.getFileName().toString()))
              .filter(Files::isRegularFile)
              .filter(file -> !PartFiles.isOpen(file))
              .toList();
    }
    for (Path part : parts) {
      try (FileChannel channel = FileChannel.open(part, WRITE)) {
        String description = Existing.describe(part);
        if (tryLock(channel) != null && Files.deleteIfExists(part)) {
          notes.accept(
              "%s was left by a run that was killed: it is deleted".formatted(description));
        }
      } catch (IOException e) {
        // It went meanwhile, belongs to somebody else or cannot be locked: then it stays.
      }
    }
  }

  /** To write to. */
  public FileChannel channel() {
    return channel;
  }

  /** Gives the file its own name, in place of a file of that name. */
  public void moveTo(Path name) throws IOException {
    Files.move(part, name, ATOMIC_MOVE);
    PartFiles.named(part);
    open = false;
    channel.close();
  }

  /** Deletes the file unless it has been given its name. */
  @Override
  public void close() throws IOException {
    if (open) {
      open = false;
      // The order matters: once the lock is gone, the name may be another process's.
      PartFiles.delete(part);
      channel.close();
    }
  }
}
