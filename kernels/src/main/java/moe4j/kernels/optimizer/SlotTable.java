package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.LongPredicate;

/**
 * The table of {@link FusedAdamW}'s slots as adamw.cuh reads it, and what follows from it: which
 * slots are streamed through shared memory, and which chunks are left to the kernel that takes all.
 * Slots of the same types are of one kind, and a kernel streams one kind.
 */
final class SlotTable {
  /** 64-bit words of a slot; those below the size are addresses, and so are the scales'. */
  static final int WORDS = 14;

  static final int GRADIENT = 4;
  static final int SIZE = 5;
  static final int TYPES = 6;
  static final int DECAY = 7;
  static final int SCALES = 8;
  static final int KEY = 10;
  static final int SQUARES = 12;

  /** A slot's types. */
  static final long PARAMETER_BF16 = 1;

  static final long MASTER_REST = 2;
  static final long MOMENTS_LOW = 4;
  static final long GRADIENT_BF16 = 8;

  /** Beside the types: its whole pieces are streamed. */
  static final long STREAMED = 16;

  /** Elements that are streamed at once, as in adamw.cuh. */
  static final int PIECE = 2048;

  /** Elements of a chunk, as in adamw.cu. */
  static final int CHUNK = 32_768;

  /** What copies' addresses are multiples of. */
  private static final int ALIGNED = 16;

  private SlotTable() {}

  /**
   * Marks in a table which slots are streamed.
   *
   * @param kinds whether slots of some types may be
   */
  static void mark(long[] table, LongPredicate kinds) {
    for (int at = 0; at < table.length; at += WORDS) {
      long kind = table[at + TYPES] & ~STREAMED;
      boolean streamed = canBeStreamed(table, at) && kinds.test(kind);
      table[at + TYPES] = streamed ? kind | STREAMED : kind;
    }
  }

  /**
   * Whether a slot has a whole piece, and addresses that copies take. The streaming kernel always
   * reads a gradient, so a slot without one cannot be streamed either.
   */
  private static boolean canBeStreamed(long[] table, int at) {
    long addresses = table[at + SCALES] | table[at + SCALES + 1];
    for (int i = at; i < at + SIZE; i++) {
      addresses |= table[i];
    }
    return addresses % ALIGNED == 0 && table[at + GRADIENT] != 0 && table[at + SIZE] >= PIECE;
  }

  /** By slot, its types and whether it is streamed. */
  static List<Long> types(long[] table) {
    List<Long> types = new ArrayList<>();
    for (int at = 0; at < table.length; at += WORDS) {
      types.add(table[at + TYPES]);
    }
    return types;
  }

  /**
   * By kind, the table of adamw_stream.cu: how many pieces there are, and pairs of a slot's number
   * and its pieces.
   */
  static Map<Long, long[]> runs(long[] table) {
    Map<Long, List<Long>> runs = new TreeMap<>();
    Map<Long, Long> pieces = new TreeMap<>();
    for (int at = 0; at < table.length; at += WORDS) {
      if ((table[at + TYPES] & STREAMED) != 0) {
        long kind = table[at + TYPES] & ~STREAMED;
        long own = table[at + SIZE] / PIECE;
        runs.computeIfAbsent(kind, k -> new ArrayList<>()).addAll(List.of((long) at / WORDS, own));
        pieces.merge(kind, own, Long::sum);
      }
    }
    Map<Long, long[]> tables = new TreeMap<>();
    runs.forEach((kind, run) -> tables.put(kind, counted(pieces.get(kind), run)));
    return tables;
  }

  /** The table of adamw.cu: how many chunks are not streamed, or not to their end, and which. */
  static long[] rests(long[] table) {
    List<Long> chunks = new ArrayList<>();
    for (int at = 0; at < table.length; at += WORDS) {
      long size = table[at + SIZE];
      if ((table[at + TYPES] & STREAMED) == 0) {
        addChunks(at / WORDS, 0, size, chunks);
      } else if (size % PIECE != 0) {
        addChunks(at / WORDS, (size - 1) / CHUNK, size, chunks);
      }
    }
    return counted(chunks.size(), chunks);
  }

  /** Adds a slot's chunks from one of them on. */
  static void addChunks(int slot, long from, long size, List<Long> chunks) {
    for (long chunk = from; chunk * CHUNK < size; chunk++) {
      chunks.add((long) slot << 32 | chunk);
    }
  }

  private static long[] counted(long count, List<Long> entries) {
    long[] table = new long[1 + entries.size()];
    table[0] = count;
    for (int i = 0; i < entries.size(); i++) {
      table[1 + i] = entries.get(i);
    }
    return table;
  }
}
