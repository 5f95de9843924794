package moe4j.data;

import java.util.Arrays;
import java.util.Objects;

/** Samples of one dataset, cut by {@link GptIndices} out of its sequences. */
final class GptDataset implements SampleDataset {
  private final TokenSource source;
  private final GptIndices indices;
  private final int seqLength;
  private final SampleRules rules;

  GptDataset(TokenSource source, GptIndices indices, int seqLength, SampleRules rules) {
    this.source = source;
    this.indices = indices;
    this.seqLength = seqLength;
    this.rules = rules;
  }

  @Override
  public long size() {
    return indices.size();
  }

  @Override
  public int seqLength() {
    return seqLength;
  }

  @Override
  public void read(long k, GptBatch batch, int row) {
    rules.apply(text(k), batch, row);
  }

  /** S + 1 tokens, the last ones pads if the sample is the partial one. */
  private long[] text(long k) {
    int sample = indices.shuffleIndex()[(int) Objects.checkIndex(k, size())];
    int[] sampleIndex = indices.sampleIndex();
    int begin = sampleIndex[2 * sample];
    int end = sampleIndex[2 * sample + 2];
    long[] text = new long[seqLength + 1];
    int filled = 0;
    for (int place = begin; place <= end; place++) {
      int sequence = indices.documentIndex()[place];
      int from = place == begin ? sampleIndex[2 * sample + 1] : 0;
      int to = place == end ? sampleIndex[2 * sample + 3] + 1 : source.length(sequence);
      source.get(sequence, from, to - from, text, filled);
      check(sequence, from, text, filled, filled + to - from);
      filled += to - from;
    }
    Arrays.fill(text, filled, text.length, rules.pad());
    return text;
  }

  private void check(int sequence, int offset, long[] text, int from, int to) {
    for (int i = from; i < to; i++) {
      if (text[i] < 0 || text[i] >= rules.vocabSize()) {
        throw IndexedDataset.broken(
            "%s, token %d is %d, but the vocabulary has %d ids"
                .formatted(source.where(sequence), offset + i - from, text[i], rules.vocabSize()));
      }
    }
  }
}
