package moe4j.data;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.zip.CRC32C;

/**
 * Reads {@code PREFIX.bin} and {@code PREFIX.idx}, Megatron's indexed dataset. Both files are
 * mapped, so opening costs one pass over the index, and processes on a machine share the pages.
 * Safe for several threads.
 */
public final class IndexedDataset implements TokenSource {
  private static final int HEADER = 34;
  private static final int IDENTITY_BYTES = 1 << 16;

  private final Path prefix;
  private final MappedFile idx;
  private final MappedFile bin;
  private final DType dtype;
  private final int sequences;
  private final int documents;
  private final long lengthsAt;
  private final long pointersAt;
  private final long documentsAt;
  private final long tokens;

  private IndexedDataset(Path prefix, int chunkBits) throws IOException {
    this.prefix = prefix;
    this.idx = MappedFile.open(existing(".idx"), chunkBits);
    this.bin = MappedFile.open(existing(".bin"), chunkBits);
    checkMagic();
    if (idx.size() < HEADER) {
      throw bad(".idx has %d bytes, but its header alone has %d".formatted(idx.size(), HEADER));
    }
    long version = idx.getLong(9);
    if (version != IndexedDatasetWriter.VERSION) {
      throw bad(
          ".idx has version %d, but only version %d is known"
              .formatted(version, IndexedDatasetWriter.VERSION));
    }
    this.dtype = DType.ofCode(idx.getByte(17));
    if (dtype == null) {
      throw bad(
          ".idx has the dtype code %d, but codes are 1 to 8".formatted(idx.getByte(17) & 0xff));
    }
    this.sequences = count(18, "sequences", 0);
    this.documents = count(26, "document boundaries", 1) - 1;
    this.lengthsAt = HEADER;
    this.pointersAt = lengthsAt + 4L * sequences;
    this.documentsAt = pointersAt + 8L * sequences;
    long end = documentsAt + 8L * (documents + 1L);
    // Multimodal datasets end with a byte a sequence, which text has no use for.
    if (idx.size() != end && idx.size() != end + sequences) {
      throw bad(
          ".idx has %d bytes, but %d sequences in %d documents need %d"
              .formatted(idx.size(), sequences, documents, end));
    }
    this.tokens = checkSequences();
    checkDocuments();
  }

  /**
   * Opens and checks a dataset.
   *
   * @param prefix the files' path without {@code .bin} and {@code .idx}
   * @throws IOException if a file is missing, foreign, of another version, or too short for what
   *     its index promises; one sentence names the file, what was found and what was expected
   */
  public static IndexedDataset open(Path prefix) throws IOException {
    return new IndexedDataset(prefix, MappedFile.CHUNK_BITS);
  }

  /**
   * Opens a dataset as {@link #open(Path)} does, mapped in chunks of {@code 1 << chunkBits} bytes.
   */
  static IndexedDataset open(Path prefix, int chunkBits) throws IOException {
    return new IndexedDataset(prefix, chunkBits);
  }

  /** Words for the contents, by which two datasets can be told apart: sizes and a checksum. */
  String identity() {
    CRC32C checksum = new CRC32C();
    for (MappedFile file : List.of(idx, bin)) {
      long end = Math.min(file.size(), IDENTITY_BYTES);
      for (long at = 0; at < end; at++) {
        checksum.update(file.getByte(at));
      }
    }
    return String.format(
        Locale.ROOT, "%d sequences of %d tokens (%08x)", sequences, tokens, checksum.getValue());
  }

  private Path existing(String suffix) throws IOException {
    Path file = IndexedDatasetWriter.withSuffix(prefix, suffix);
    if (!Files.isRegularFile(file)) {
      throw new IOException(
          Files.isRegularFile(prefix)
              ? "there is no file %s: a dataset is named without .bin and .idx".formatted(file)
              : "there is no file %s".formatted(file));
    }
    return file;
  }

  private void checkMagic() throws IOException {
    byte[] magic = IndexedDatasetWriter.MAGIC;
    boolean same = idx.size() >= magic.length;
    for (int i = 0; same && i < magic.length; i++) {
      same = idx.getByte(i) == magic[i];
    }
    if (!same) {
      throw bad(".idx is not a Megatron index: it does not begin with MMIDIDX and two zero bytes");
    }
  }

  private int count(long at, String what, int least) throws IOException {
    long count = idx.getLong(at);
    if (count < least || count == Integer.MAX_VALUE || count != (int) count) {
      throw bad(
          ".idx counts %s %s, but %d to %d are possible"
              .formatted(Long.toUnsignedString(count), what, least, Integer.MAX_VALUE - 1));
    }
    return (int) count;
  }

  private long checkSequences() throws IOException {
    long sum = 0;
    for (int s = 0; s < sequences; s++) {
      long length = length(s);
      long pointer = pointer(s);
      if (length < 0 || pointer < 0) {
        throw bad(
            ".idx gives sequence %d the length %d and the byte offset %d, but neither is negative"
                .formatted(s, length, pointer));
      }
      if (pointer > bin.size() - length * dtype.size) {
        throw bad(
            ".bin has %d bytes, but the index puts sequence %d, %d tokens of %s, at byte %d"
                .formatted(bin.size(), s, length, dtype.numpyName, pointer));
      }
      sum += length;
    }
    return sum;
  }

  private void checkDocuments() throws IOException {
    long before = 0;
    for (int d = 0; d <= documents; d++) {
      long boundary = boundary(d);
      long least = d < documents ? before : sequences;
      long most = d == 0 ? 0 : sequences;
      if (boundary < least || boundary > most) {
        throw bad(
            ".idx has document boundary %d of %d at sequence %d, but %s"
                .formatted(
                    d,
                    documents,
                    boundary,
                    least < most
                        ? "%d to %d are possible".formatted(least, most)
                        : "it must be at " + most));
      }
      before = boundary;
    }
  }

  private long boundary(int document) {
    return idx.getLong(documentsAt + 8L * document);
  }

  private IOException bad(String problem) {
    return new IOException(prefix + problem);
  }

  /** The path without {@code .bin} and {@code .idx}. */
  public Path prefix() {
    return prefix;
  }

  /** How tokens are stored. */
  public DType dtype() {
    return dtype;
  }

  /** Tokens of all sequences. */
  public long tokens() {
    return tokens;
  }

  @Override
  public int sequences() {
    return sequences;
  }

  /** How many documents there are; each is zero or more sequences in a row. */
  public int documents() {
    return documents;
  }

  /** A document's first sequence; for {@link #documents()} itself, {@link #sequences()}. */
  public int firstSequence(int document) {
    return (int) boundary(Objects.checkIndex(document, documents + 1));
  }

  @Override
  public int length(int sequence) {
    return idx.getInt(lengthsAt + 4L * sequence);
  }

  private long pointer(int sequence) {
    return idx.getLong(pointersAt + 8L * sequence);
  }

  @Override
  public void get(int sequence, int offset, int count, long[] dst, int at) {
    checkWhole();
    try {
      long from = byteAt(sequence, offset, count);
      for (int i = 0; i < count; i++) {
        dst[at + i] = token(from + (long) i * dtype.size);
      }
      checkWhole();
    } catch (InternalError e) {
      throw unread(e);
    }
  }

  /**
   * Copies tokens {@code offset..offset+count-1} of a sequence to {@code dst[at..]}.
   *
   * @throws UncheckedIOException if one is beyond an int, or a file was cut
   */
  public void get(int sequence, int offset, int count, int[] dst, int at) {
    checkWhole();
    try {
      long from = byteAt(sequence, offset, count);
      for (int i = 0; i < count; i++) {
        long token = token(from + (long) i * dtype.size);
        dst[at + i] = (int) token;
        if (token != dst[at + i]) {
          throw broken("%s holds the token %d, which is no int".formatted(where(sequence), token));
        }
      }
      checkWhole();
    } catch (InternalError e) {
      throw unread(e);
    }
  }

  /**
   * What the virtual machine throws where a mapped file's page is gone: which one, it cannot say,
   * and compiled code may come to the next call before it does.
   */
  private UncheckedIOException unread(InternalError e) {
    checkWhole();
    return broken("%s.bin could not be read: %s".formatted(prefix, e.getMessage()));
  }

  /**
   * Called before every read, so that no page is touched that is gone: compiled code's error for it
   * comes late, anywhere. It is called after the read, too, since the cut may come in between: what
   * lay beyond the file's new end was then read as zeros.
   */
  private void checkWhole() {
    checkWhole(".bin", bin);
    checkWhole(".idx", idx);
  }

  private void checkWhole(String suffix, MappedFile file) {
    try {
      long now = file.sizeNow();
      if (now < file.size()) {
        throw broken(
            "%s%s was cut while it was in use: it has %d bytes and had %d"
                .formatted(prefix, suffix, now, file.size()));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(prefix + suffix + ": " + e.getMessage(), e);
    }
  }

  private long byteAt(int sequence, int offset, int count) {
    Objects.checkIndex(sequence, sequences);
    Objects.checkFromIndexSize(offset, count, length(sequence));
    return pointer(sequence) + (long) offset * dtype.size;
  }

  private long token(long at) {
    try {
      return dtype.get(bin, at);
    } catch (ArithmeticException e) {
      throw broken("%s.bin holds no tokens: %s".formatted(prefix, e.getMessage()));
    }
  }

  @Override
  public String where(int sequence) {
    int low = 0;
    int high = documents - 1;
    // The last document that begins at or before the sequence: empty ones share a beginning.
    while (low < high) {
      int middle = (low + high + 1) >>> 1;
      if (firstSequence(middle) <= sequence) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return "%s.bin, document %d, sequence %d".formatted(prefix, low, sequence);
  }

  static UncheckedIOException broken(String message) {
    return new UncheckedIOException(message, new IOException(message));
  }
}
