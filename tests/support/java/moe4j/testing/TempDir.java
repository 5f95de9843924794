package moe4j.testing;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;

/** A test's directory, deleted with all its files on close. */
public final class TempDir implements AutoCloseable {
  private static final String[] WORDS = {
    "the ", "king ", "of ", "night ", "speaks\n", "no ", "word; ", "and ", "day\n", "rises "
  };

  private final Path root;

  public TempDir() {
    try {
      root = Files.createTempDirectory("moe4j-test");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The directory itself. */
  public Path root() {
    return root;
  }

  public Path path(String name) {
    return root.resolve(name);
  }

  /** Every file below, sorted. */
  public List<Path> list() throws IOException {
    try (Stream<Path> files = Files.walk(root)) {
      return files.filter(Files::isRegularFile).sorted().toList();
    }
  }

  /** A file of exactly so many bytes, in words, so that there is something to learn. */
  public Path text(String name, Random random, int bytes) throws IOException {
    StringBuilder text = new StringBuilder();
    // Every word once at least: the vocabulary does not depend on what is drawn.
    text.append(String.join("", WORDS));
    while (text.length() < bytes) {
      text.append(WORDS[random.nextInt(WORDS.length)]);
    }
    return Files.writeString(path(name), text.substring(0, bytes));
  }

  /** Deletes a directory with all that is in it; what others delete meanwhile is no fault. */
  public static void delete(Path directory) throws IOException {
    Files.walkFileTree(
        directory,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
              throws IOException {
            Files.deleteIfExists(file);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path visited, IOException failure)
              throws IOException {
            Files.deleteIfExists(visited);
            return FileVisitResult.CONTINUE;
          }
        });
  }

  @Override
  public void close() throws IOException {
    delete(root);
  }
}
