package moe4j.data;

import java.util.List;
import java.util.Objects;

/** Samples of several datasets, mixed by {@link BlendIndices}. */
final class BlendedDataset implements SampleDataset {
  private final List<SampleDataset> datasets;
  private final BlendIndices indices;

  /**
   * @throws IllegalArgumentException if the indices want more samples than a dataset has
   */
  BlendedDataset(List<SampleDataset> datasets, BlendIndices indices, List<String> prefixes) {
    this.datasets = datasets;
    this.indices = indices;
    long[] wanted = new long[datasets.size()];
    for (short dataset : indices.dataset()) {
      wanted[dataset]++;
    }
    for (int d = 0; d < wanted.length; d++) {
      if (wanted[d] > datasets.get(d).size()) {
        throw new IllegalArgumentException(
            "the blend takes %d samples of %s, which has %d"
                .formatted(wanted[d], prefixes.get(d), datasets.get(d).size()));
      }
    }
  }

  @Override
  public long size() {
    return indices.dataset().length;
  }

  @Override
  public int seqLength() {
    return datasets.get(0).seqLength();
  }

  @Override
  public void read(long k, GptBatch batch, int row) {
    int s = (int) Objects.checkIndex(k, size());
    datasets.get(indices.dataset()[s]).read(indices.sample()[s], batch, row);
  }
}
