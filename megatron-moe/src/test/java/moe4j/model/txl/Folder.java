package moe4j.model.txl;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Random;
import java.util.stream.Stream;

/** A test's directory, deleted with all its files on close. */
public final class Folder implements AutoCloseable {
  private static final String[] WORDS = {
    "the ", "king ", "of ", "night ", "speaks\n", "no ", "word; ", "and ", "day\n", "rises "
  };

  private final Path root;

  public Folder() {
    try {
      root = Files.createTempDirectory("txl");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public Path path(String name) {
    return root.resolve(name);
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

  @Override
  public void close() throws IOException {
    try (Stream<Path> files = Files.walk(root)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }
}
