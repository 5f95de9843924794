package moe4j.data;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.Locale;
import java.util.OptionalLong;

/** Says what a dataset holds, and how its samples would be cut. */
public final class Inspector {
  private Inspector() {}

  /**
   * Prints documents, sequences, tokens, dtype and the documents' lengths, one a line.
   *
   * @throws IOException if there is no such dataset, or it is damaged
   */
  public static void inspect(Path prefix, PrintStream out) throws IOException {
    IndexedDataset dataset = IndexedDataset.open(prefix);
    long min = dataset.documents() == 0 ? 0 : Long.MAX_VALUE;
    long max = 0;
    for (int d = 0; d < dataset.documents(); d++) {
      long length = 0;
      for (int s = dataset.firstSequence(d); s < dataset.firstSequence(d + 1); s++) {
        length += dataset.length(s);
      }
      min = Math.min(min, length);
      max = Math.max(max, length);
    }
    double mean = (double) dataset.tokens() / Math.max(1, dataset.documents());
    out.printf(Locale.ROOT, "prefix: %s%n", prefix);
    out.printf(Locale.ROOT, "documents: %d%n", dataset.documents());
    out.printf(Locale.ROOT, "sequences: %d%n", dataset.sequences());
    out.printf(Locale.ROOT, "tokens: %d%n", dataset.tokens());
    out.printf(
        Locale.ROOT,
        "dtype: %s (%d bytes a token)%n",
        dataset.dtype().numpyName,
        dataset.dtype().size);
    out.printf(Locale.ROOT, "tokens a document: min %d, mean %.1f, max %d%n", min, mean, max);
  }

  /**
   * Prints the three GPT indices in full, each on one line as a nested list that Python and JSON
   * read.
   *
   * @param split with {@code part}, the sequences to draw from; null for all
   * @param samples how many are wanted at least; empty for one epoch
   * @throws IllegalArgumentException if there is nothing to draw from
   * @throws IOException if there is no such dataset, or it is damaged
   */
  public static void indices(
      Path prefix,
      int seqLength,
      OptionalLong samples,
      long seed,
      Split split,
      Part part,
      PrintStream out)
      throws IOException {
    IndexedDataset dataset = IndexedDataset.open(prefix);
    Split.Range range =
        split == null
            ? new Split.Range(0, dataset.sequences())
            : split.range(part, dataset.sequences());
    GptIndices indices =
        GptIndices.build(
            dataset::length, new GptIndices.Request(range, samples, seqLength, seed, true));
    out.printf(Locale.ROOT, "drawn from: sequences %d to %d%n", range.from(), range.to() - 1);
    out.printf(
        Locale.ROOT,
        "epochs: %d (separate final epoch: %s)%n",
        indices.epochs(),
        indices.separateFinalEpoch());
    out.printf(Locale.ROOT, "samples: %d%n", indices.size());
    print("document_index", indices.documentIndex(), 1, out);
    print("sample_index", indices.sampleIndex(), 2, out);
    print("shuffle_index", indices.shuffleIndex(), 1, out);
  }

  private static void print(String name, int[] array, int columns, PrintStream out) {
    // Piece by piece: the text of a large index is longer than a string can be.
    out.print(name + ": [");
    for (int i = 0; i < array.length; i++) {
      out.print(i == 0 ? "" : ", ");
      out.print(columns > 1 && i % columns == 0 ? "[" : "");
      out.print(array[i]);
      out.print(columns > 1 && i % columns == columns - 1 ? "]" : "");
    }
    out.println("]");
  }
}
