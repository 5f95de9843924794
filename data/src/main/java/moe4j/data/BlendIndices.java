package moe4j.data;

import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Which dataset gives each sample of a blend, and its which sample that is: always the dataset that
 * lags behind its weight the most, the first of several.
 *
 * @param dataset a dataset's number, for each sample
 * @param sample the sample's number in it
 */
@SuppressWarnings("ArrayRecordComponent") // two columns: nobody compares two
record BlendIndices(short[] dataset, long[] sample) {
  private static final String DATASET_INDEX = "dataset_index.npy";
  private static final String SAMPLE_INDEX = "dataset_sample_index.npy";

  /** {@code size} samples in proportion to weights that sum to 1. */
  static BlendIndices weighted(double[] weights, int size) {
    return build(weights, size, null);
  }

  /** Each dataset's every sample once. */
  static BlendIndices exhaustive(long[] sizes, int size) {
    double[] weights = new double[sizes.length];
    for (int i = 0; i < sizes.length; i++) {
      weights[i] = sizes[i] / (double) size;
    }
    return build(weights, size, sizes);
  }

  private static BlendIndices build(double[] weights, int size, long[] limits) {
    short[] dataset = new short[size];
    long[] sample = new long[size];
    long[] taken = new long[weights.length];
    for (int s = 0; s < size; s++) {
      int lagging = -1;
      double most = Double.NEGATIVE_INFINITY;
      for (int d = 0; d < weights.length; d++) {
        double lag = weights[d] * Math.max(s, 1) - taken[d];
        if (lag > most && (limits == null || taken[d] < limits[d])) {
          most = lag;
          lagging = d;
        }
      }
      dataset[s] = (short) lagging;
      sample[s] = taken[lagging]++;
    }
    return new BlendIndices(dataset, sample);
  }

  Map<String, Npy.NpyArray> arrays() {
    Map<String, Npy.NpyArray> arrays = new LinkedHashMap<>();
    arrays.put(DATASET_INDEX, new Npy.NpyArray(Npy.Type.I16, dataset, dataset.length));
    arrays.put(SAMPLE_INDEX, new Npy.NpyArray(Npy.Type.I64, sample, sample.length));
    return arrays;
  }

  /** Reads {@code size} samples of {@code datasets} datasets, checked as far as reading goes. */
  static BlendIndices load(IndexCache cache, int size, int datasets) throws IOException {
    short[] dataset = (short[]) Npy.read(cache.path(DATASET_INDEX), Npy.Type.I16, size);
    long[] sample = (long[]) Npy.read(cache.path(SAMPLE_INDEX), Npy.Type.I64, size);
    long[] taken = new long[datasets];
    for (int s = 0; s < size; s++) {
      if (dataset[s] < 0 || dataset[s] >= datasets || sample[s] != taken[dataset[s]]++) {
        throw new IOException(
            "%s and %s disagree at %d"
                .formatted(cache.path(DATASET_INDEX), cache.path(SAMPLE_INDEX), s));
      }
    }
    return new BlendIndices(dataset, sample);
  }
}
