package moe4j.data.stream;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.util.EnumMap;
import java.util.Map;
import moe4j.data.Part;
import moe4j.data.Reasons;

/**
 * Where the bytes of train, valid and test lie. They are read twice, once to count them and once to
 * encode them, so that no more than the symbols is ever held.
 */
final class CorpusFiles {
  private static final int CHUNK = 1 << 20;

  private record Slice(Path file, long offset, long length) {}

  /**
   * What a look at all bytes gave.
   *
   * @param counts of the three parts in their order
   * @param md5 of the three parts one after the other
   * @param newlines of each part
   */
  record Scan(ByteCounts counts, String md5, Map<Part, Long> newlines) {}

  private final Map<Part, Slice> slices;

  private CorpusFiles(Map<Part, Slice> slices) {
    this.slices = slices;
  }

  static Path file(Path directory, Part part) {
    return directory.resolve(part.label() + ".bytes");
  }

  /**
   * The three files that a directory's manifest describes.
   *
   * @throws IOException if one is missing or has another size: one sentence
   */
  static CorpusFiles of(Path directory, CorpusManifest manifest) throws IOException {
    Map<Part, Slice> slices = new EnumMap<>(Part.class);
    for (Part part : Part.values()) {
      Path file = file(directory, part);
      long length = manifest.split().of(part);
      long size = size(file);
      if (size != length) {
        throw new IOException(
            "%s has %d bytes, but %s says %d: delete the directory and make it again"
                .formatted(file, size, directory.resolve(CorpusManifest.FILE_NAME), length));
      }
      slices.put(part, new Slice(file, 0, length));
    }
    return new CorpusFiles(slices);
  }

  /**
   * The three parts of one file.
   *
   * @throws IOException if the file cannot be read
   * @throws IllegalArgumentException if it is shorter than its parts
   */
  static CorpusFiles of(Path file, SplitBytes split) throws IOException {
    if (!Files.exists(file)) {
      throw new IOException("--data-file %s: there is no such file".formatted(file));
    }
    if (Files.isDirectory(file)) {
      throw new IOException("--data-file %s is a directory".formatted(file));
    }
    long size = size(file);
    if (split.sum() > size) {
      throw new IllegalArgumentException(
          "--split-bytes %s asks for %d bytes, but %s has %d"
              .formatted(split, split.sum(), file, size));
    }
    Map<Part, Slice> slices = new EnumMap<>(Part.class);
    long offset = 0;
    for (Part part : Part.values()) {
      slices.put(part, new Slice(file, offset, split.of(part)));
      offset += split.of(part);
    }
    return new CorpusFiles(slices);
  }

  private static long size(Path file) throws IOException {
    try {
      return Files.size(file);
    } catch (IOException e) {
      throw unreadable(file, e);
    }
  }

  /** Reads all bytes once. */
  Scan scan() throws IOException {
    ByteCounts counts = new ByteCounts();
    MessageDigest md5 = Digests.md5();
    Map<Part, Long> newlines = new EnumMap<>(Part.class);
    for (Part part : Part.values()) {
      long before = counts.count('\n');
      each(
          slices.get(part),
          (bytes, length) -> {
            counts.add(bytes, 0, length);
            md5.update(bytes, 0, length);
          });
      newlines.put(part, counts.count('\n') - before);
    }
    return new Scan(counts, Digests.hex(md5), newlines);
  }

  /** The symbols of a part. */
  byte[] read(Part part, ByteVocabulary vocabulary, Scan scan) throws IOException {
    Slice slice = slices.get(part);
    boolean all = vocabulary.idOf('\n') >= 0;
    byte[] ids = new byte[Math.toIntExact(slice.length() - (all ? 0 : scan.newlines().get(part)))];
    byte[] chunk = new byte[CHUNK];
    int[] filled = {0};
    each(
        slice,
        (bytes, length) -> {
          int symbols;
          try {
            symbols = vocabulary.encode(bytes, 0, length, chunk, 0);
          } catch (IllegalArgumentException e) {
            throw changed(slice.file(), e);
          }
          if (symbols > ids.length - filled[0]) {
            throw changed(slice.file(), null);
          }
          System.arraycopy(chunk, 0, ids, filled[0], symbols);
          filled[0] += symbols;
        });
    if (filled[0] < ids.length) {
      throw changed(slice.file(), null);
    }
    return ids;
  }

  private interface Reader {
    void read(byte[] bytes, int length) throws IOException;
  }

  private static void each(Slice slice, Reader reader) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(CHUNK);
    try (FileChannel channel = open(slice.file())) {
      for (long at = 0; at < slice.length(); at += buffer.limit()) {
        buffer.clear().limit((int) Math.min(CHUNK, slice.length() - at));
        while (buffer.hasRemaining()) {
          if (readInto(buffer, channel, slice, at) < 0) {
            throw changed(slice.file(), new EOFException());
          }
        }
        reader.read(buffer.array(), buffer.limit());
      }
    }
  }

  private static int readInto(ByteBuffer buffer, FileChannel channel, Slice slice, long at)
      throws IOException {
    try {
      return channel.read(buffer, slice.offset() + at + buffer.position());
    } catch (IOException e) {
      throw unreadable(slice.file(), e);
    }
  }

  private static FileChannel open(Path file) throws IOException {
    try {
      return FileChannel.open(file, StandardOpenOption.READ);
    } catch (IOException e) {
      throw unreadable(file, e);
    }
  }

  private static IOException unreadable(Path file, IOException e) {
    return new IOException("%s cannot be read: %s".formatted(file, Reasons.of(e)), e);
  }

  private static IOException changed(Path file, Exception cause) {
    return new IOException("%s was changed while it was read".formatted(file), cause);
  }
}
