package moe4j.data.preprocess;

import java.nio.file.Path;

/** A document as it was read. */
final class RawDocument {
  final Path file;

  /** Where it begins, from 1; 0 if it is the whole file. */
  final long line;

  final boolean json;
  final byte[] bytes;

  RawDocument(Path file, long line, boolean json, byte[] bytes) {
    this.file = file;
    this.line = line;
    this.json = json;
    this.bytes = bytes;
  }

  /** The file, and the line where there is one. */
  String where() {
    return line == 0 ? file.toString() : "%s line %d".formatted(file, line);
  }
}
