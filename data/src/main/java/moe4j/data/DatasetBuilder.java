package moe4j.data;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** Builds the dataset of one part after the other, from files that are opened once. */
final class DatasetBuilder {
  /** Megatron's {@code mid_level_dataset_surplus}: a blend may take a little more than its due. */
  private static final double SURPLUS = 0.005;

  /** Megatron's for mock data. */
  private static final Split EVEN = Split.parse("1,1,1");

  private final DataConfig config;
  private final Consumer<String> log;
  private final Map<String, IndexedDataset> opened = new LinkedHashMap<>();

  DatasetBuilder(DataConfig config, Consumer<String> log) {
    this.config = config;
    this.log = log;
  }

  /** A dataset and what names it in a cache. */
  private record Built(SampleDataset dataset, Map<String, Object> identifiers) {}

  /** The part's dataset, or null if it has none. */
  SampleDataset build(Part part) throws IOException {
    OptionalLong samples = config.samples().of(part);
    if (samples.isPresent() && samples.getAsLong() == 0) {
      return null;
    }
    SampleDataset dataset;
    if (config.source() instanceof DataSource.Shared shared) {
      Blend blend = shared.blend();
      boolean blended = blend.prefixes().size() > 1 || blend.weights() != null;
      dataset =
          !shared.split().gives(part)
              ? null
              : blended
                  ? blended(blend, shared.split(), part, samples)
                  : single(blend.prefixes().get(0), shared.split(), part, samples);
    } else if (config.source() instanceof DataSource.PerPart perPart) {
      Blend blend = perPart.blends().get(part);
      dataset =
          blend == null
              ? null
              : blend.prefixes().size() > 1
                  ? blended(blend, null, part, samples)
                  : single(blend.prefixes().get(0), null, part, samples);
    } else {
      dataset = mock(part, samples);
    }
    if (dataset != null) {
      log.accept("> total number of %s samples: %d".formatted(part.label(), dataset.size()));
    }
    return dataset;
  }

  private SampleDataset mock(Part part, OptionalLong samples) {
    config.rules().needEod("--mock-data");
    TokenSource source = new MockSequences(config.rules().vocabSize(), config.rules().eod());
    GptIndices.Request request = request(EVEN.range(part, source.sequences()), samples);
    return new GptDataset(
        source, GptIndices.build(source::length, request), config.seqLength(), config.rules());
  }

  private SampleDataset single(String prefix, Split split, Part part, OptionalLong samples)
      throws IOException {
    Split.Range range = range(prefix, split, part);
    if (range.size() == 0 && part != Part.TRAIN) {
      log.accept(
          "There are no %s data: %s has %d sequences%s"
              .formatted(
                  part.label(),
                  prefix,
                  open(prefix).sequences(),
                  split == null ? "" : ", of which --split " + split.text() + " leaves it none"));
      return null;
    }
    return dataset(prefix, split, part, samples).dataset;
  }

  private Split.Range range(String prefix, Split split, Part part) throws IOException {
    int sequences = open(prefix).sequences();
    return split == null ? new Split.Range(0, sequences) : split.range(part, sequences);
  }

  private IndexedDataset open(String prefix) throws IOException {
    IndexedDataset dataset = opened.get(prefix);
    if (dataset == null) {
      dataset = IndexedDataset.open(Path.of(prefix));
      opened.put(prefix, dataset);
    }
    return dataset;
  }

  private GptIndices.Request request(Split.Range range, OptionalLong samples) {
    return new GptIndices.Request(range, samples, config.seqLength(), config.seed(), true);
  }

  private Built dataset(String prefix, Split split, Part part, OptionalLong samples)
      throws IOException {
    Map<String, Object> identifiers = new LinkedHashMap<>();
    identifiers.put("class", "GPTDataset");
    identifiers.put("dataset_path", prefix);
    identifiers.put("num_samples", samples.isPresent() ? samples.getAsLong() : null);
    identifiers.put("index_split", part.label());
    identifiers.put("random_seed", config.seed());
    identifiers.put("sequence_length", config.seqLength());
    identifiers.put("split", split == null ? null : split.text());
    identifiers.put("split_matrix", split == null ? null : split.matrix());
    identifiers.put("tokenizer", config.tokenizer());
    Path dir =
        config.cachePath() == null
            ? Path.of(prefix, "cache", "GPTDataset_indices")
            : config.cachePath();
    IndexCache cache = new IndexCache(dir, identifiers, part, log);
    IndexedDataset source = open(prefix);
    try {
      GptIndices indices =
          GptIndices.cached(source::length, request(range(prefix, split, part), samples), cache);
      return new Built(
          new GptDataset(source, indices, config.seqLength(), config.rules()), identifiers);
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "no %s data from %s%s: %s"
              .formatted(
                  part.label(),
                  prefix,
                  split == null ? "" : " with --split " + split.text(),
                  e.getMessage()),
          e);
    }
  }

  private SampleDataset blended(Blend blend, Split split, Part part, OptionalLong wanted)
      throws IOException {
    double[] weights = null;
    if (blend.weights() != null) {
      if (wanted.isEmpty()) {
        throw new IllegalArgumentException(
            "weights before prefixes share out a number of %s samples, and none is given (--samples)"
                .formatted(part.label()));
      }
      weights = Blend.normalize(blend.weights().stream().mapToDouble(w -> w).toArray());
    }
    List<Built> built = new ArrayList<>();
    long size = 0;
    for (int i = 0; i < blend.prefixes().size(); i++) {
      OptionalLong samples = OptionalLong.empty();
      if (weights != null) {
        double due = Math.ceil(wanted.getAsLong() * weights[i]);
        samples = OptionalLong.of((long) Math.ceil(due * (1 + SURPLUS)));
        size += (long) due;
      }
      built.add(dataset(blend.prefixes().get(i), split, part, samples));
    }
    if (weights != null) {
      return mix(blend, part, built, Blend.normalize(weights), size);
    }
    long[] sizes = built.stream().mapToLong(b -> b.dataset.size()).toArray();
    for (int i = 0; i < sizes.length; i++) {
      if (sizes[i] == 0) {
        throw new IllegalArgumentException(
            "%s has not one %s sample of %d tokens to blend"
                .formatted(blend.prefixes().get(i), part.label(), config.seqLength()));
      }
    }
    long sum = Arrays.stream(sizes).sum();
    return wanted.isEmpty()
        ? mixAll(blend, part, built, sizes, sum)
        : mix(
            blend,
            part,
            built,
            Blend.normalize(Arrays.stream(sizes).asDoubleStream().toArray()),
            Math.min(wanted.getAsLong(), sum));
  }

  private SampleDataset mix(
      Blend blend, Part part, List<Built> built, double[] weights, long size) {
    return mix(
        blend,
        part,
        built,
        Arrays.stream(weights).boxed().toList(),
        size,
        size,
        () -> BlendIndices.weighted(weights, (int) size));
  }

  private SampleDataset mixAll(Blend blend, Part part, List<Built> built, long[] sizes, long sum) {
    return mix(
        blend,
        part,
        built,
        Arrays.stream(sizes).boxed().toList(),
        null,
        sum,
        () -> BlendIndices.exhaustive(sizes, (int) sum));
  }

  private SampleDataset mix(
      Blend blend,
      Part part,
      List<Built> built,
      List<?> weights,
      Long namedSize,
      long size,
      Supplier<BlendIndices> indices) {
    if (size > Integer.MAX_VALUE - 8 || built.size() >= Short.MAX_VALUE) {
      throw new IllegalArgumentException(
          "a blend of %d %s samples from %d datasets is beyond 2147483639 from 32766"
              .formatted(size, part.label(), built.size()));
    }
    Map<String, Object> identifiers = new LinkedHashMap<>();
    identifiers.put("class", "BlendedDataset");
    identifiers.put("datasets", built.stream().map(Built::identifiers).toList());
    identifiers.put("split", part.label());
    identifiers.put("weights", weights);
    identifiers.put("size", namedSize);
    // As Megatron, blends are cached only in a directory that is given.
    IndexCache cache = new IndexCache(config.cachePath(), identifiers, part, log);
    return new BlendedDataset(
        built.stream().map(Built::dataset).toList(),
        cache.get(
            () -> BlendIndices.load(cache, (int) size, built.size()),
            indices,
            BlendIndices::arrays),
        blend.prefixes());
  }
}
