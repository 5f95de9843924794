package moe4j.data;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.TRUNCATE_EXISTING;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;

/**
 * Writes {@code PREFIX.bin} and {@code PREFIX.idx} as Megatron does. Tokens are streamed to disk;
 * what stays in memory is 4 bytes a sequence and 4 a document. Nothing appears under the final
 * names before {@link #finish}.
 */
public final class IndexedDatasetWriter implements AutoCloseable {
  static final byte[] MAGIC = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
  static final long VERSION = 1;

  private final Path prefix;
  private final DType dtype;
  private final Path idxPart;
  private final PartFile bin;
  private final ByteBuffer buffer =
      ByteBuffer.allocateDirect(1 << 20).order(ByteOrder.LITTLE_ENDIAN);

  private int[] lengths = new int[1024];
  private int sequences;
  private int[] documentEnds = new int[1024];
  private int documents;
  private long tokens;
  private boolean finished;

  private IndexedDatasetWriter(Path prefix, DType dtype, Consumer<String> notes)
      throws IOException {
    this.prefix = prefix;
    this.dtype = dtype;
    this.idxPart = withSuffix(prefix, ".idx.part");
    if (prefix.getParent() != null) {
      Files.createDirectories(prefix.getParent());
    }
    this.bin = PartFile.open(withSuffix(prefix, ".bin.part"), notes);
    // The index is written at the end, by whoever holds the lock on the tokens.
    if (Files.isRegularFile(idxPart)) {
      notes.accept(
          "%s was left by a run that was killed: it is deleted"
              .formatted(Existing.describe(idxPart)));
      Files.delete(idxPart);
    }
    PartFiles.begin(idxPart);
  }

  /**
   * Starts the dataset {@code prefix.bin}, {@code prefix.idx}; missing directories are made.
   *
   * @throws IOException if the files cannot be written there, or are there already
   */
  public static IndexedDatasetWriter create(Path prefix, DType dtype) throws IOException {
    for (Path file : files(prefix)) {
      if (Files.exists(file)) {
        throw new IOException(
            "%s is there already and is not replaced".formatted(Existing.describe(file)));
      }
    }
    return replace(prefix, dtype, note -> {});
  }

  /**
   * Starts a dataset that takes the place of one that is there, when it is whole.
   *
   * @param notes takes a sentence of what a killed process has left
   * @throws PartFile.HeldException if another process writes the same dataset
   * @throws IOException if the files cannot be written there
   */
  public static IndexedDatasetWriter replace(Path prefix, DType dtype, Consumer<String> notes)
      throws IOException {
    return new IndexedDatasetWriter(prefix, dtype, notes);
  }

  /** The two files of a dataset. */
  public static List<Path> files(Path prefix) {
    return List.of(withSuffix(prefix, ".bin"), withSuffix(prefix, ".idx"));
  }

  /**
   * Appends {@code tokens[from..to)} as one sequence of the current document.
   *
   * @throws IllegalArgumentException if a token does not fit the dtype; nothing is appended then
   */
  public void addSequence(int[] tokens, int from, int to) throws IOException {
    Objects.checkFromToIndex(from, to, tokens.length);
    for (int i = from; i < to; i++) {
      if (tokens[i] < dtype.min || tokens[i] > dtype.max) {
        throw new IllegalArgumentException(
            "token %d of document %d is %d, but %s.bin stores %s, %d to %d"
                .formatted(
                    i - from, documents, tokens[i], prefix, dtype.numpyName, dtype.min, dtype.max));
      }
    }
    lengths = append(lengths, sequences++, to - from);
    this.tokens += to - from;
    for (int i = from; i < to; i++) {
      if (buffer.remaining() < dtype.size) {
        flush(bin.channel());
      }
      dtype.put(buffer, tokens[i]);
    }
  }

  /** Ends the current document; one without sequences is a document too. */
  public void endDocument() {
    documentEnds = append(documentEnds, documents++, sequences);
  }

  /** Sequences added so far. */
  public long sequences() {
    return sequences;
  }

  /** Documents ended so far. */
  public long documents() {
    return documents;
  }

  /** Tokens added so far. */
  public long tokens() {
    return tokens;
  }

  /**
   * Writes the index and gives both files their names.
   *
   * @throws IllegalStateException if a document was begun and not ended
   */
  public void finish() throws IOException {
    if (sequences > (documents == 0 ? 0 : documentEnds[documents - 1])) {
      throw new IllegalStateException("the last document of " + prefix + " was not ended");
    }
    flush(bin.channel());
    bin.channel().force(true);
    try (FileChannel idx = FileChannel.open(idxPart, CREATE, WRITE, TRUNCATE_EXISTING)) {
      writeIndex(idx);
      idx.force(true);
    }
    // An older index would describe the new .bin wrongly: between these moves no index exists.
    Files.deleteIfExists(withSuffix(prefix, ".idx"));
    bin.moveTo(withSuffix(prefix, ".bin"));
    Files.move(idxPart, withSuffix(prefix, ".idx"), ATOMIC_MOVE);
    PartFiles.named(idxPart);
    finished = true;
  }

  private void writeIndex(FileChannel idx) throws IOException {
    buffer.put(MAGIC).putLong(VERSION).put((byte) dtype.code);
    buffer.putLong(sequences).putLong(documents + 1L);
    for (int s = 0; s < sequences; s++) {
      reserve(idx, Integer.BYTES).putInt(lengths[s]);
    }
    long pointer = 0;
    for (int s = 0; s < sequences; s++) {
      reserve(idx, Long.BYTES).putLong(pointer);
      pointer += (long) lengths[s] * dtype.size;
    }
    reserve(idx, Long.BYTES).putLong(0);
    for (int d = 0; d < documents; d++) {
      reserve(idx, Long.BYTES).putLong(documentEnds[d]);
    }
    flush(idx);
  }

  /** Deletes what was written unless {@link #finish} has been reached. */
  @Override
  public void close() throws IOException {
    if (!finished) {
      // The index first: its name is ours as long as the tokens are locked.
      PartFiles.delete(idxPart);
      bin.close();
    }
  }

  static Path withSuffix(Path prefix, String suffix) {
    return prefix.resolveSibling(prefix.getFileName() + suffix);
  }

  private ByteBuffer reserve(FileChannel to, int bytes) throws IOException {
    if (buffer.remaining() < bytes) {
      flush(to);
    }
    return buffer;
  }

  private void flush(FileChannel to) throws IOException {
    buffer.flip();
    while (buffer.hasRemaining()) {
      to.write(buffer);
    }
    buffer.clear();
  }

  private static int[] append(int[] array, int size, int value) {
    int[] grown =
        size < array.length ? array : Arrays.copyOf(array, Math.max(size + 1, size * 3 / 2));
    grown[size] = value;
    return grown;
  }
}
