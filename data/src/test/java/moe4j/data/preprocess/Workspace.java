package moe4j.data.preprocess;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import moe4j.data.IndexedDataset;
import moe4j.testing.TempDir;
import moe4j.tokenizer.Tokenizer;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;

/** A directory for one test, with inputs in {@code in} and outputs in {@code out}. */
final class Workspace implements AutoCloseable {
  private final TempDir directory = new TempDir();
  final Path root = directory.root();

  Workspace() throws IOException {
    Files.createDirectory(root.resolve("in"));
  }

  Path write(String name, String text) throws IOException {
    return write(name, text.getBytes(StandardCharsets.UTF_8));
  }

  /** Compressed where the name ends in .gz. */
  Path write(String name, byte[] bytes) throws IOException {
    Path file = root.resolve("in").resolve(name);
    Files.createDirectories(file.getParent());
    if (!name.endsWith(".gz")) {
      return Files.write(file, bytes);
    }
    try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(file))) {
      out.write(bytes);
    }
    return file;
  }

  Path prefix() {
    return root.resolve("out").resolve("data");
  }

  /** Text keys, ends of documents, two workers; older outputs are replaced. */
  PreprocessConfig config(Path... inputs) {
    return config(List.of(inputs), TextDocuments.FILE, List.of("text"), true, 2);
  }

  PreprocessConfig config(
      List<Path> inputs, TextDocuments documents, List<String> keys, boolean eod, int workers) {
    return new PreprocessConfig(inputs, documents, keys, eod, workers, prefix(), 1000, true);
  }

  static Tokenizer bytes() throws IOException {
    return Tokenizers.of(TokenizerConfig.ofType("ByteTokenizer"));
  }

  /** With the byte tokenizer and nobody listening. */
  static Progress run(PreprocessConfig config) throws IOException, InterruptedException {
    return Preprocessor.run(config, bytes(), progress -> {});
  }

  /** Each document's sequences. */
  List<List<int[]>> documents(String key) throws IOException {
    IndexedDataset dataset = IndexedDataset.open(root.resolve("out/data_" + key + "_document"));
    List<List<int[]>> documents = new ArrayList<>();
    for (int d = 0; d < dataset.documents(); d++) {
      int end = d + 1 < dataset.documents() ? dataset.firstSequence(d + 1) : dataset.sequences();
      List<int[]> sequences = new ArrayList<>();
      for (int s = dataset.firstSequence(d); s < end; s++) {
        int[] tokens = new int[dataset.length(s)];
        dataset.get(s, 0, tokens.length, tokens, 0);
        sequences.add(tokens);
      }
      documents.add(sequences);
    }
    return documents;
  }

  /** The documents as text, sequences separated by |, the end of document being $. */
  List<String> texts(String key) throws IOException {
    Tokenizer tokenizer = bytes();
    return documents(key).stream()
        .map(
            sequences ->
                String.join(
                    "|",
                    sequences.stream()
                        .map(
                            tokens ->
                                tokens[tokens.length - 1] == tokenizer.eod()
                                    ? tokenizer.decode(tokens) + "$"
                                    : tokenizer.decode(tokens))
                        .toList()))
        .toList();
  }

  /** The names of all files in the output directory. */
  List<String> outputs() throws IOException {
    Path out = root.resolve("out");
    if (!Files.exists(out)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(out)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }

  byte[] output(String name) throws IOException {
    return Files.readAllBytes(root.resolve("out").resolve(name));
  }

  @Override
  public void close() throws IOException {
    directory.close();
  }

  /** The first bytes of a file, as a torn copy has them. */
  static void truncate(Path file, int bytes) throws IOException {
    Files.write(file, Arrays.copyOf(Files.readAllBytes(file), bytes));
  }
}
