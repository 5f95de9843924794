package moe4j.data.preprocess;

import java.io.IOException;
import java.util.Arrays;
import moe4j.data.IndexedDatasetWriter;

/** The tokens of one key of several documents, on their way to a writer. */
final class EncodedDocuments {
  private final Ints tokens = new Ints();
  private final Ints sequenceEnds = new Ints();
  private final Ints documentEnds = new Ints();

  void addSequence(int[] sequence) {
    tokens.add(sequence);
    sequenceEnds.add(tokens.size);
  }

  /** Puts a token at the end of the last sequence. */
  void lengthenSequence(int token) {
    tokens.add(token);
    sequenceEnds.values[sequenceEnds.size - 1] = tokens.size;
  }

  void endDocument() {
    documentEnds.add(sequenceEnds.size);
  }

  /** Appends document {@code index} to a dataset. */
  void write(int index, IndexedDatasetWriter writer) throws IOException {
    int from = index == 0 ? 0 : documentEnds.values[index - 1];
    for (int s = from; s < documentEnds.values[index]; s++) {
      int begin = s == 0 ? 0 : sequenceEnds.values[s - 1];
      writer.addSequence(tokens.values, begin, sequenceEnds.values[s]);
    }
    writer.endDocument();
  }

  /** A list that grows. */
  private static final class Ints {
    int[] values = new int[64];
    int size;

    void add(int... more) {
      if (more.length > values.length - size) {
        int needed = Math.addExact(size, more.length);
        int doubled = (int) Math.min(2L * values.length, Integer.MAX_VALUE - 8);
        values = Arrays.copyOf(values, Math.max(needed, doubled));
      }
      System.arraycopy(more, 0, values, size, more.length);
      size += more.length;
    }
  }
}
