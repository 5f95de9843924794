package moe4j.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Locale;

/** The operations of a file system that checkpoints use. */
final class Disk {
  private static final boolean WINDOWS =
      System.getProperty("os.name").toLowerCase(Locale.ROOT).startsWith("windows");

  private Disk() {}

  /**
   * Opens a file; a failure is a sentence that names it. Pipes and devices, which could be read
   * without an end or not at all, are refused.
   */
  static FileChannel openForReading(Path path) throws IOException {
    try {
      if (Files.exists(path) && !Files.isRegularFile(path)) {
        throw new IOException("it is no regular file");
      }
      return FileChannel.open(path, StandardOpenOption.READ);
    } catch (IOException e) {
      throw new IOException("cannot read " + path + ": " + reason(e), e);
    }
  }

  /** Writes a new file that has reached the disk when this returns. */
  static void write(Path path, byte[] bytes) throws IOException {
    try (FileChannel file =
        FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      ByteBuffer buffer = ByteBuffer.wrap(bytes);
      while (buffer.hasRemaining()) {
        file.write(buffer);
      }
      file.force(true);
    }
  }

  /** Replaces a file: a reader sees the old content or the new one. */
  static void replace(Path path, byte[] bytes) throws IOException {
    Path beside = path.resolveSibling(path.getFileName() + ".tmp");
    Files.deleteIfExists(beside);
    write(beside, bytes);
    move(beside, path);
  }

  /** Renames in one step; the directory's entry has reached the disk when this returns. */
  static void move(Path from, Path to) throws IOException {
    Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
    force(to.getParent());
  }

  /** Makes a directory's entries durable. Windows cannot open one, and keeps them by itself. */
  static void force(Path directory) throws IOException {
    if (!WINDOWS) {
      try (FileChannel channel = FileChannel.open(directory, StandardOpenOption.READ)) {
        channel.force(true);
      }
    }
  }

  /** Creates a directory and its parents; one reached by a link is a directory too. */
  static void createDirectories(Path directory) throws IOException {
    if (!Files.isDirectory(directory)) {
      Files.createDirectories(directory);
    }
  }

  /** Deletes a directory and what is in it, where it exists. */
  static void deleteTree(Path directory) throws IOException {
    if (!Files.exists(directory)) {
      return;
    }
    Files.walkFileTree(
        directory,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
              throws IOException {
            Files.delete(file);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path visited, IOException failure)
              throws IOException {
            if (failure != null) {
              throw failure;
            }
            Files.delete(visited);
            return FileVisitResult.CONTINUE;
          }
        });
  }

  /** Why an operation failed, without the class names and repeated paths of Java's own messages. */
  static String reason(IOException e) {
    if (e instanceof NoSuchFileException missing) {
      return "there is no " + missing.getFile();
    }
    if (e instanceof AccessDeniedException denied) {
      return "permission denied for " + denied.getFile();
    }
    if (e instanceof NotDirectoryException file) {
      return file.getFile() + " is not a directory";
    }
    if (e instanceof FileAlreadyExistsException existing) {
      return existing.getFile() + " is in the way";
    }
    if (e instanceof FileSystemException failed && failed.getReason() != null) {
      return failed.getReason();
    }
    // An interrupted channel's exception has no message but its name.
    return e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
  }
}
