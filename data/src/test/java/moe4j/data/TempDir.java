package moe4j.data;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/** A test's directory, deleted with all its files on close. */
public final class TempDir implements AutoCloseable {
  private final Path root;

  public TempDir() throws IOException {
    root = Files.createTempDirectory("moe4j-data");
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

  @Override
  public void close() throws IOException {
    try (Stream<Path> files = Files.walk(root)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }
}
