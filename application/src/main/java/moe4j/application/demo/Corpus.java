package moe4j.application.demo;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import moe4j.data.DType;
import moe4j.data.Existing;
import moe4j.data.IndexedDatasetWriter;
import moe4j.tokenizer.Tokenizer;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * A corpus that a machine with Maven alone can get: the Java files of {@code -sources} jars, one a
 * document. Licence headers are cut off, being the same in thousands of files; the documents are
 * shuffled, so that each part of the split has some of every library.
 */
final class Corpus {
  private static final Logger LOG = LogManager.getLogger(Corpus.class);

  private static final long SHUFFLE_SEED = 1234;

  /**
   * What was written.
   *
   * @param prefix of the .bin and .idx files
   */
  record Summary(Path prefix, int jars, int documents, long tokens) {}

  private Corpus() {}

  /**
   * Tokenises all Java files of the jars in a directory. The same jars give the same bytes: a
   * corpus that is there already is checked and kept.
   *
   * @param sums whether the jars are to be those whose SHA-256 the repository holds
   * @throws IOException where no jars are found, one cannot be read or is another than it should
   *     be, or another corpus is there
   */
  static Summary write(Path jars, boolean sums, Path prefix, Tokenizer tokenizer)
      throws IOException {
    List<Path> files = jars(jars);
    if (sums) {
      CorpusSums.check(jars, files);
    }
    List<String> documents = new ArrayList<>();
    for (Path file : files) {
      read(file, documents);
    }
    Collections.shuffle(documents, new Random(SHUFFLE_SEED));
    Files.createDirectories(prefix.toAbsolutePath().getParent());
    boolean there = IndexedDatasetWriter.files(prefix).stream().allMatch(Files::exists);
    Path made = there ? prefix.resolveSibling(prefix.getFileName() + ".check") : prefix;
    long tokens = encode(documents, made, tokenizer);
    if (there) {
      compare(prefix, made, jars);
    }
    return new Summary(prefix, files.size(), documents.size(), tokens);
  }

  /** Refuses a corpus that differs from the one that has been made, and deletes the latter. */
  private static void compare(Path there, Path made, Path jars) throws IOException {
    List<Path> old = IndexedDatasetWriter.files(there);
    List<Path> anew = IndexedDatasetWriter.files(made);
    try {
      for (int i = 0; i < old.size(); i++) {
        if (Files.mismatch(old.get(i), anew.get(i)) >= 0) {
          throw new IOException(
              "%s is there already, and is not what the jars in %s give: give another --output-dir"
                  .formatted(Existing.describe(old.get(i)), jars));
        }
      }
    } finally {
      for (Path file : anew) {
        Files.deleteIfExists(file);
      }
    }
  }

  private static long encode(List<String> documents, Path prefix, Tokenizer tokenizer)
      throws IOException {
    long tokens = 0;
    try (IndexedDatasetWriter writer =
        IndexedDatasetWriter.replace(prefix, DType.forVocab(tokenizer.vocabSize()), LOG::warn)) {
      int[] end = {tokenizer.eod()};
      for (String document : documents) {
        int[] text = tokenizer.encode(document);
        int[] whole = new int[text.length + 1];
        System.arraycopy(text, 0, whole, 0, text.length);
        whole[text.length] = end[0];
        writer.addSequence(whole, 0, whole.length);
        writer.endDocument();
        tokens += whole.length;
      }
      writer.finish();
    }
    return tokens;
  }

  /** The jars in a directory, by name and size: the same ones give the same corpus. */
  static String files(Path directory) throws IOException {
    List<String> files = new ArrayList<>();
    for (Path jar : jars(directory)) {
      files.add("%s of %d bytes".formatted(jar.getFileName(), Files.size(jar)));
    }
    return String.join(", ", files);
  }

  private static List<Path> jars(Path directory) throws IOException {
    if (!Files.isDirectory(directory)) {
      throw new IOException(
          "there is no directory %s of -sources jars: ./moe4j makes it when it builds"
              .formatted(directory));
    }
    try (Stream<Path> files = Files.list(directory)) {
      List<Path> jars =
          files.filter(file -> file.toString().endsWith("-sources.jar")).sorted().toList();
      if (jars.isEmpty()) {
        throw new IOException("there are no -sources jars in %s".formatted(directory));
      }
      return jars;
    }
  }

  private static void read(Path jar, List<String> documents) throws IOException {
    try (ZipFile zip = new ZipFile(jar.toFile())) {
      zip.stream()
          .filter(entry -> entry.getName().endsWith(".java"))
          .sorted(Comparator.comparing(ZipEntry::getName))
          .forEach(
              entry -> {
                try {
                  byte[] bytes = zip.getInputStream(entry).readAllBytes();
                  documents.add(withoutLicence(new String(bytes, StandardCharsets.UTF_8)));
                } catch (IOException e) {
                  throw new UncheckedIOException("%s in %s".formatted(entry, jar), e);
                }
              });
    }
  }

  /** What stands from the package declaration on. */
  static String withoutLicence(String source) {
    int begin = source.startsWith("package ") ? 0 : source.indexOf("\npackage ") + 1;
    return source.substring(begin);
  }
}
