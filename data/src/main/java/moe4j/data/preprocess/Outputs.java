package moe4j.data.preprocess;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import moe4j.data.DType;
import moe4j.data.Existing;
import moe4j.data.IndexedDatasetWriter;
import moe4j.data.Reasons;

/** The datasets being written, one a key. Nothing of them remains unless {@link #finish} ends. */
final class Outputs implements Closeable {
  private final List<Path> prefixes = new ArrayList<>();
  private final List<IndexedDatasetWriter> writers = new ArrayList<>();

  /**
   * Opens the files of all keys.
   *
   * @param notes takes a sentence of what a killed run has left
   * @throws IllegalArgumentException if one is there already, and is not to be replaced
   */
  static Outputs open(PreprocessConfig config, DType dtype, Consumer<String> notes)
      throws IOException {
    if (!config.overwrite()) {
      Existing.refuse(
          config.jsonKeys().stream()
              .flatMap(key -> IndexedDatasetWriter.files(config.prefix(key)).stream())
              .toList(),
          "--output-prefix " + config.outputPrefix(),
          "give another prefix");
    }
    Outputs outputs = new Outputs();
    try {
      for (String key : config.jsonKeys()) {
        Path prefix = config.prefix(key);
        outputs.prefixes.add(prefix);
        outputs.writers.add(IndexedDatasetWriter.replace(prefix, dtype, notes));
      }
    } catch (IOException e) {
      outputs.close();
      throw outputs.cannotWrite(outputs.writers.size(), e);
    }
    return outputs;
  }

  /** Appends document {@code index} of each key. */
  void write(List<EncodedDocuments> documents, int index) throws IOException {
    for (int k = 0; k < writers.size(); k++) {
      try {
        documents.get(k).write(index, writers.get(k));
      } catch (IOException e) {
        throw cannotWrite(k, e);
      }
    }
  }

  long tokens() {
    return writers.stream().mapToLong(IndexedDatasetWriter::tokens).sum();
  }

  /** Gives all files their names. */
  void finish() throws IOException {
    for (int k = 0; k < writers.size(); k++) {
      try {
        writers.get(k).finish();
      } catch (IOException e) {
        throw cannotWrite(k, e);
      }
    }
  }

  private IOException cannotWrite(int key, IOException e) {
    return new IOException(
        "--output-prefix: %s.bin and .idx cannot be written: %s"
            .formatted(prefixes.get(key), Reasons.of(e)),
        e);
  }

  @Override
  public void close() throws IOException {
    for (IndexedDatasetWriter writer : writers) {
      writer.close();
    }
  }
}
