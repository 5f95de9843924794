package moe4j.data.preprocess;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import moe4j.data.GzipInput;
import moe4j.data.Reasons;
import moe4j.tokenizer.TextFiles;

/** Finds and opens what {@code --input} names. */
final class InputFiles {
  private InputFiles() {}

  /** All files of the inputs, in the order in which they are read. */
  static List<Path> list(List<Path> inputs, Path outputPrefix) throws IOException {
    List<Path> files = new ArrayList<>();
    for (Path input : inputs) {
      if (Files.isDirectory(input)) {
        Path output = outputPrefix.toAbsolutePath().normalize();
        if (output.startsWith(input.toAbsolutePath().normalize())) {
          throw new IllegalArgumentException(
              "--output-prefix %s lies inside --input %s, where it would be read as text the next time"
                  .formatted(outputPrefix, input));
        }
        files.addAll(below(input));
      } else if (Files.exists(input)) {
        files.add(input);
      } else {
        throw new FileNotFoundException(
            "--input %s: there is no such file or directory".formatted(input));
      }
    }
    return files;
  }

  private static List<Path> below(Path directory) throws IOException {
    try (Stream<Path> paths = Files.walk(directory, FileVisitOption.FOLLOW_LINKS)) {
      return paths
          .filter(Files::isRegularFile)
          .filter(file -> !isHidden(directory.relativize(file)))
          .sorted(
              Comparator.comparing(
                  file -> directory.relativize(file).toString().replace('\\', '/')))
          .toList();
    } catch (UncheckedIOException e) {
      throw new IOException(
          "--input %s cannot be read: %s".formatted(directory, Reasons.of(e.getCause())), e);
    }
  }

  private static boolean isHidden(Path relative) {
    for (Path name : relative) {
      if (name.toString().startsWith(".")) {
        return true;
      }
    }
    return false;
  }

  static boolean isJson(Path file) {
    String name = name(file);
    String plain = isGzip(file) ? name.substring(0, name.length() - ".gz".length()) : name;
    return plain.endsWith(".jsonl") || plain.endsWith(".json");
  }

  static boolean isGzip(Path file) {
    return name(file).endsWith(".gz");
  }

  private static String name(Path file) {
    return file.getFileName().toString().toLowerCase(Locale.ROOT);
  }

  /** The file's text, uncompressed and without a byte order mark. */
  static InputStream open(Path file) throws IOException {
    InputStream bytes = Files.newInputStream(file);
    try {
      return TextFiles.withoutMark(isGzip(file) ? new GzipInput(bytes) : bytes, file.toString());
    } catch (IOException refused) {
      bytes.close();
      throw refused;
    }
  }
}
