package moe4j.examples.gpt;

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
import moe4j.data.IndexedDatasetWriter;
import moe4j.tokenizer.Tokenizer;

/**
 * A corpus that a machine with Maven alone can get: the Java files of {@code -sources} jars, one a
 * document. Licence headers are cut off, being the same in thousands of files; the documents are
 * shuffled, so that each part of the split has some of every library.
 */
final class Corpus {
  private static final long SHUFFLE_SEED = 1234;

  /**
   * What was written.
   *
   * @param prefix of the .bin and .idx files
   */
  record Summary(Path prefix, int jars, int documents, long tokens) {}

  private Corpus() {}

  /**
   * Tokenises all Java files of the jars in a directory.
   *
   * @throws IOException where there are none, or one cannot be read
   */
  static Summary write(Path jars, Path prefix, Tokenizer tokenizer) throws IOException {
    List<Path> files = jars(jars);
    List<String> documents = new ArrayList<>();
    for (Path file : files) {
      read(file, documents);
    }
    Collections.shuffle(documents, new Random(SHUFFLE_SEED));
    Files.createDirectories(prefix.toAbsolutePath().getParent());
    long tokens = 0;
    try (IndexedDatasetWriter writer =
        IndexedDatasetWriter.create(prefix, DType.forVocab(tokenizer.vocabSize()))) {
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
    return new Summary(prefix, files.size(), documents.size(), tokens);
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
