package moe4j.data.preprocess;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;

/**
 * What to preprocess, by Megatron's flags.
 *
 * <p>An input is a file or a directory, of which every file below is read in the order of the
 * paths, but for those whose name begins with a dot. The name tells what a file is: {@code .jsonl}
 * and {@code .json} hold a JSON object a line, all others plain text in UTF-8; with {@code .gz}
 * after that they are compressed.
 *
 * @param inputs {@code --input}, read in this order
 * @param textDocuments what a document is in plain text
 * @param jsonKeys {@code --json-keys}: the keys to read, each into files of its own. Plain text has
 *     no keys: there one is given, and only names the files
 * @param appendEod {@code --append-eod}: whether each document that has a token ends with the
 *     tokenizer's end of document
 * @param workers {@code --workers}: threads that tokenise. The files are the same for any number
 * @param outputPrefix {@code --output-prefix}: the files are PREFIX_KEY_document.bin and .idx
 * @param logInterval {@code --log-interval}: documents between two reports
 * @param overwrite {@code --overwrite}: whether files of these names are replaced, once the new
 *     ones are whole
 */
public record PreprocessConfig(
    List<Path> inputs,
    TextDocuments textDocuments,
    List<String> jsonKeys,
    boolean appendEod,
    int workers,
    Path outputPrefix,
    int logInterval,
    boolean overwrite) {

  /**
   * @throws IllegalArgumentException naming the flag whose value makes no sense
   */
  public PreprocessConfig {
    inputs = List.copyOf(inputs);
    jsonKeys = List.copyOf(jsonKeys);
    if (inputs.isEmpty()) {
      throw new IllegalArgumentException("--input is missing");
    }
    if (jsonKeys.isEmpty() || Set.copyOf(jsonKeys).size() < jsonKeys.size()) {
      throw new IllegalArgumentException(
          "--json-keys must be one or more different keys, but is " + jsonKeys);
    }
    if (workers < 1) {
      throw new IllegalArgumentException("--workers must be at least 1, but is " + workers);
    }
    if (logInterval < 1) {
      throw new IllegalArgumentException(
          "--log-interval must be at least 1, but is " + logInterval);
    }
    if (outputPrefix == null || outputPrefix.getFileName() == null) {
      throw new IllegalArgumentException("--output-prefix is missing");
    }
    String name = outputPrefix.getFileName().toString();
    if (name.isEmpty()
        || name.equals(".")
        || name.equals("..")
        || Files.isDirectory(outputPrefix)) {
      throw directory(outputPrefix.toString(), outputPrefix);
    }
  }

  /**
   * A prefix as it is typed, whose last character may say that it is a directory.
   *
   * @throws IllegalArgumentException if it does
   */
  public static Path outputPrefix(String typed) {
    if (typed.endsWith("/")) {
      throw directory(typed, Path.of(typed));
    }
    return Path.of(typed);
  }

  private static IllegalArgumentException directory(String typed, Path directory) {
    return new IllegalArgumentException(
        "--output-prefix %s is a directory, but files are to begin with it: give a name in it, such as %s"
            .formatted(typed.isEmpty() ? "''" : typed, directory.resolve("corpus")));
  }

  /** The prefix of a key's files. */
  public Path prefix(String key) {
    return outputPrefix.resolveSibling(outputPrefix.getFileName() + "_" + key + "_document");
  }
}
