package moe4j.data.stream;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The symbols of a byte corpus: ids 0 to V - 1, V at most 256, each of which stands for one byte.
 * An id in a {@code byte[]} is unsigned.
 *
 * <p>Two kinds: {@link Kind#BYTES} has every byte as it is. {@link Kind#UPSTREAM} is what
 * Transformer-XL makes of enwik8, whose preparation writes bytes as decimal numbers and newlines as
 * line ends, and whose reader then splits lines into words: newlines are gone from the stream, and
 * the symbols are the other bytes that occur, by descending count. Bits per symbol of the two are
 * not of the same stream, hence {@link #name} in reports.
 */
public final class ByteVocabulary {
  private static final byte NEWLINE = 10;

  /** How bytes become symbols. */
  public enum Kind {
    /** 256 symbols: id i is byte i. */
    BYTES,
    /** The bytes that occur but for newlines, which are left out of the stream. */
    UPSTREAM;

    /** As flags and reports have it: {@code bytes} or {@code upstream}. */
    public String label() {
      return this == BYTES ? "bytes" : "upstream";
    }

    /**
     * The kind of a label.
     *
     * @throws IllegalArgumentException if no vocabulary has this name: one sentence
     */
    public static Kind of(String label) {
      return Stream.of(values())
          .filter(kind -> kind.label().equals(label))
          .findFirst()
          .orElseThrow(
              () ->
                  new IllegalArgumentException(
                      "a byte vocabulary is %s, not '%s'"
                          .formatted(
                              Stream.of(values())
                                  .map(Kind::label)
                                  .collect(Collectors.joining(" or ")),
                              label)));
    }
  }

  private final Kind kind;
  private final byte[] symbols;

  /** The id of each byte; -1 for none. */
  private final int[] ids = new int[256];

  private ByteVocabulary(Kind kind, byte[] symbols) {
    this.kind = kind;
    this.symbols = symbols;
    Arrays.fill(ids, -1);
    for (int id = 0; id < symbols.length; id++) {
      int value = symbols[id] & 0xff;
      if (ids[value] >= 0) {
        throw new IllegalArgumentException(
            "byte %d is symbol %d and symbol %d of one vocabulary"
                .formatted(value, ids[value], id));
      }
      ids[value] = id;
    }
  }

  /** Every byte as it is. */
  public static ByteVocabulary bytes() {
    byte[] symbols = new byte[256];
    for (int i = 0; i < symbols.length; i++) {
      symbols[i] = (byte) i;
    }
    return new ByteVocabulary(Kind.BYTES, symbols);
  }

  /**
   * Transformer-XL's, of a whole corpus.
   *
   * @param counts of train, then valid, then test: of bytes that occur equally often, the one that
   *     came first has the lower id
   */
  public static ByteVocabulary upstream(ByteCounts counts) {
    List<Integer> bytes = counts.mostCommon();
    byte[] symbols = new byte[256];
    int size = 0;
    for (int value : bytes) {
      if (value != NEWLINE) {
        symbols[size++] = (byte) value;
      }
    }
    return new ByteVocabulary(Kind.UPSTREAM, Arrays.copyOf(symbols, size));
  }

  /** The one of a kind for a corpus. */
  static ByteVocabulary of(Kind kind, ByteCounts counts) {
    return kind == Kind.BYTES ? bytes() : upstream(counts);
  }

  /**
   * A vocabulary from its {@link #symbols}, such as a checkpoint's.
   *
   * @throws IllegalArgumentException if it can be none: one sentence
   */
  public static ByteVocabulary of(Kind kind, byte[] symbols) {
    ByteVocabulary vocabulary = new ByteVocabulary(kind, symbols.clone());
    boolean sound =
        kind == Kind.BYTES ? Arrays.equals(symbols, bytes().symbols) : vocabulary.ids[NEWLINE] < 0;
    if (!sound) {
      throw new IllegalArgumentException(
          kind == Kind.BYTES
              ? "the vocabulary bytes has the 256 bytes in their order and nothing else"
              : "the vocabulary upstream has no newline, byte 10");
    }
    return vocabulary;
  }

  /** Which of the two it is. */
  public Kind kind() {
    return kind;
  }

  /** Its name in reports: {@code bytes} or {@code upstream}. */
  public String name() {
    return kind.label();
  }

  /** Symbols, V. */
  public int size() {
    return symbols.length;
  }

  /** The byte of each id, V of them. */
  public byte[] symbols() {
    return symbols.clone();
  }

  /**
   * Equal for two vocabularies exactly if they encode alike, up to a collision of hashes: {@code
   * upstream-204-0123456789abcdef}. For a checkpoint, so that a run is not resumed with another.
   */
  public String identity() {
    return "%s-%d-%s".formatted(name(), size(), Digests.shortSha256(symbols));
  }

  /**
   * The symbol of a byte, or -1 where it has none: upstream's newline, and bytes that did not
   * occur.
   *
   * @param value 0 to 255
   */
  public int idOf(int value) {
    return ids[value];
  }

  /**
   * The byte of a symbol, 0 to 255.
   *
   * @param id 0 to V - 1
   */
  public int byteOf(int id) {
    return symbols[Objects.checkIndex(id, symbols.length)] & 0xff;
  }

  /**
   * Encodes {@code bytes[from..to)} into {@code ids} from {@code at} on, which has room for as
   * many.
   *
   * @return the symbols written: fewer than bytes where upstream leaves newlines out
   * @throws IllegalArgumentException if a byte has no symbol: one sentence
   */
  public int encode(byte[] bytes, int from, int to, byte[] ids, int at) {
    Objects.checkFromToIndex(from, to, bytes.length);
    Objects.checkFromIndexSize(at, to - from, ids.length);
    int next = at;
    for (int i = from; i < to; i++) {
      int id = this.ids[bytes[i] & 0xff];
      if (id >= 0) {
        ids[next++] = (byte) id;
      } else if (bytes[i] != NEWLINE) {
        throw new IllegalArgumentException(
            "byte %d is not among the %d symbols of the vocabulary %s"
                .formatted(bytes[i] & 0xff, size(), name()));
      }
    }
    return next - at;
  }

  /** All of {@code bytes} as symbols. */
  public byte[] encode(byte[] bytes) {
    byte[] ids = new byte[bytes.length];
    return Arrays.copyOf(ids, encode(bytes, 0, bytes.length, ids, 0));
  }

  /** The bytes of symbols; what upstream left out stays out. */
  public byte[] decode(byte[] ids) {
    byte[] bytes = new byte[ids.length];
    for (int i = 0; i < ids.length; i++) {
      bytes[i] = (byte) byteOf(ids[i] & 0xff);
    }
    return bytes;
  }

  @Override
  public String toString() {
    return "%s (%d symbols)".formatted(name(), size());
  }
}
