package moe4j.data.stream;

import java.io.IOException;
import java.nio.file.Path;
import java.util.EnumMap;
import java.util.Map;
import moe4j.data.Part;

/**
 * A corpus of bytes as three streams of symbols, held in memory: one byte a symbol, unsigned. A
 * part has at most 2 GiB; reading takes a MiB more than the symbols.
 */
public final class ByteCorpus {
  private final String source;
  private final ByteVocabulary vocabulary;
  private final Map<Part, byte[]> streams;
  private final int distinctBytes;
  private final String identity;

  private ByteCorpus(
      String source,
      ByteVocabulary.Kind kind,
      CorpusFiles files,
      CorpusFiles.Scan scan,
      String sizes)
      throws IOException {
    this.source = source;
    this.vocabulary = ByteVocabulary.of(kind, scan.counts());
    if (vocabulary.size() == 0) {
      throw new IOException(
          "%s has nothing but newlines, which the vocabulary %s leaves out"
              .formatted(source, vocabulary.name()));
    }
    this.streams = new EnumMap<>(Part.class);
    for (Part part : Part.values()) {
      streams.put(part, files.read(part, vocabulary, scan));
    }
    this.distinctBytes = scan.counts().distinct();
    this.identity = "%s-%s".formatted(sizes, scan.md5());
  }

  /**
   * Reads a directory that {@code moe4j data enwik8} has made, and checks it against its manifest.
   *
   * @throws IOException if it is not one, or a file is missing or has changed: one sentence naming
   *     the file
   */
  public static ByteCorpus open(Path directory, ByteVocabulary.Kind kind) throws IOException {
    CorpusManifest manifest = CorpusManifest.read(directory);
    CorpusFiles files = CorpusFiles.of(directory, manifest);
    return new ByteCorpus(
        directory.toString(),
        kind,
        files,
        verified(directory, manifest, files),
        manifest.split().toString());
  }

  /** Counts a directory's bytes, and compares their sum with its manifest's. */
  static CorpusFiles.Scan verified(Path directory, CorpusManifest manifest, CorpusFiles files)
      throws IOException {
    CorpusFiles.Scan scan = files.scan();
    if (!scan.md5().equals(manifest.md5())) {
      throw new IOException(
          "the parts in %s have the md5 %s, but %s says %s: delete the directory and make it again"
              .formatted(directory, scan.md5(), CorpusManifest.FILE_NAME, manifest.md5()));
    }
    return scan;
  }

  /**
   * Reads any file.
   *
   * @throws IOException if it cannot be read: one sentence naming it
   * @throws IllegalArgumentException if the split asks for more bytes than the file has: one
   *     sentence naming the flag and the numbers
   */
  public static ByteCorpus open(Path file, SplitBytes split, ByteVocabulary.Kind kind)
      throws IOException {
    CorpusFiles files = CorpusFiles.of(file, split);
    return new ByteCorpus(file.toString(), kind, files, files.scan(), split.toString());
  }

  /** The symbols of a part, ids of the vocabulary as unsigned bytes: not a copy. */
  public byte[] stream(Part part) {
    return streams.get(part);
  }

  /** The vocabulary, of all three parts together. */
  public ByteVocabulary vocabulary() {
    return vocabulary;
  }

  /** Different bytes in all three parts, newlines among them. */
  public int distinctBytes() {
    return distinctBytes;
  }

  /** The directory or file it was read from. */
  public String source() {
    return source;
  }

  /**
   * Equal for two corpora exactly if train, valid and test have the same bytes, up to a collision
   * of hashes, wherever they lie: {@code TRAIN,VALID,TEST-MD5}. For a checkpoint, with the
   * vocabulary's {@link ByteVocabulary#identity}.
   */
  public String identity() {
    return identity;
  }

  /**
   * The segments of a part.
   *
   * @see SegmentDataset#SegmentDataset
   */
  public SegmentDataset segments(Part part, int columns, int tgtLen, int extLen, long epochs) {
    return new SegmentDataset(part.label(), stream(part), columns, tgtLen, extLen, epochs);
  }
}
