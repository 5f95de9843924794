package moe4j.tests;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import moe4j.data.DType;
import moe4j.data.IndexedDatasetWriter;
import moe4j.testing.TempDir;

/** A test's directory, deleted with all its files on close. */
final class Workspace implements AutoCloseable {
  /** ByteTokenizer's end of document. */
  private static final int EOD = 256;

  private final TempDir directory = new TempDir();
  private final Path root = directory.root();

  Path path(String name) {
    return root.resolve(name);
  }

  /** A dataset of bytes: sentences of a few words, so that there is something to learn. */
  Path corpus(String name, Random random, int documents) throws IOException {
    String[] words = {"public ", "static ", "void ", "int ", "return ", "new ", "x = ", "y;\n"};
    Path prefix = path(name);
    try (IndexedDatasetWriter writer =
        IndexedDatasetWriter.replace(prefix, DType.forVocab(257), note -> {})) {
      for (int d = 0; d < documents; d++) {
        StringBuilder text = new StringBuilder();
        for (int w = 10 + random.nextInt(40); w > 0; w--) {
          text.append(words[random.nextInt(words.length)]);
        }
        int[] tokens = text.chars().toArray();
        writer.addSequence(tokens, 0, tokens.length);
        writer.addSequence(new int[] {EOD}, 0, 1);
        writer.endDocument();
      }
      writer.finish();
    }
    return prefix;
  }

  /** A dataset of these documents. */
  Path dataset(String name, List<int[]> documents) throws IOException {
    try (IndexedDatasetWriter writer =
        IndexedDatasetWriter.replace(path(name), DType.forVocab(257), note -> {})) {
      for (int[] tokens : documents) {
        writer.addSequence(tokens, 0, tokens.length);
        writer.endDocument();
      }
      writer.finish();
    }
    return path(name);
  }

  /** The files and directories there are, by their relative names. */
  Set<String> files() throws IOException {
    try (Stream<Path> files = Files.walk(root)) {
      return files.map(file -> root.relativize(file).toString()).collect(Collectors.toSet());
    }
  }

  /** The content of every file below a directory, by its relative name. */
  static Map<String, byte[]> contents(Path directory) throws IOException {
    Map<String, byte[]> contents = new TreeMap<>();
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        contents.put(directory.relativize(file).toString(), Files.readAllBytes(file));
      }
    }
    return contents;
  }

  /** Copies a directory's files. */
  static void copy(Path from, Path to) throws IOException {
    try (Stream<Path> files = Files.walk(from)) {
      for (Path file : files.sorted(Comparator.naturalOrder()).toList()) {
        Path target = to.resolve(from.relativize(file).toString());
        if (Files.isDirectory(file)) {
          Files.createDirectories(target);
        } else {
          Files.copy(file, target);
        }
      }
    }
  }

  /** Deletes a directory with all that is in it. */
  static void delete(Path directory) throws IOException {
    TempDir.delete(directory);
  }

  @Override
  public void close() throws IOException {
    directory.close();
  }
}
