package moe4j.data;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.StringJoiner;
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

  /** {@link GptDatasets#order}. */
  List<String> order(Part part) throws IOException {
    OptionalLong samples = config.samples().of(part);
    Split split = config.source() instanceof DataSource.Shared shared ? shared.split() : null;
    Blend blend = blend(part);
    List<String> orders = new ArrayList<>();
    if ((blend == null && !(config.source() instanceof DataSource.Mock))
        || (split != null && !split.gives(part))) {
      return orders;
    } else if (blend == null) {
      TokenSource source = new MockSequences(config.rules().vocabSize(), config.rules().eod());
      orders.add(order(source, EVEN.range(part, source.sequences()), samples));
      return orders;
    }
    double[] weights = weights(blend);
    for (int i = 0; i < blend.prefixes().size(); i++) {
      String prefix = blend.prefixes().get(i);
      OptionalLong own = samples;
      if (weights != null && samples.isPresent()) {
        own = OptionalLong.of(surplus(due(samples.getAsLong(), weights[i])));
      } else if (blend.prefixes().size() > 1) {
        own = OptionalLong.empty();
      }
      Split.Range range = range(prefix, split, part);
      if (range.size() > 0) {
        orders.add(order(open(prefix), range, own));
      }
    }
    return orders;
  }

  private String order(TokenSource source, Split.Range range, OptionalLong samples) {
    GptIndices.Order order = GptIndices.order(source::length, request(range, samples));
    return "%d epoch%s%s"
        .formatted(
            order.epochs(),
            order.epochs() == 1 ? "" : "s",
            order.separateFinalEpoch() ? ", the last by itself" : "");
  }

  private Blend blend(Part part) {
    return config.source() instanceof DataSource.Shared shared
        ? shared.blend()
        : config.source() instanceof DataSource.PerPart perPart ? perPart.blends().get(part) : null;
  }

  /** {@link GptDatasets#identity}. */
  String identity() throws IOException {
    if (config.source() instanceof DataSource.Shared shared) {
      return identity(shared.blend());
    } else if (!(config.source() instanceof DataSource.PerPart perPart)) {
      return "made-up data";
    } else {
      StringJoiner all = new StringJoiner("; ");
      for (Map.Entry<Part, Blend> each : perPart.blends().entrySet()) {
        all.add(each.getKey().label() + ": " + identity(each.getValue()));
      }
      return all.toString();
    }
  }

  private String identity(Blend blend) throws IOException {
    StringJoiner all = new StringJoiner(" + ");
    for (int i = 0; i < blend.prefixes().size(); i++) {
      String weight = blend.weights() == null ? "" : blend.weights().get(i) + " of ";
      all.add(weight + open(blend.prefixes().get(i)).identity());
    }
    return all.toString();
  }

  /** The weights' shares of 1; null where no weights are given. */
  private static double[] weights(Blend blend) {
    return blend.weights() == null
        ? null
        : Blend.normalize(blend.weights().stream().mapToDouble(w -> w).toArray());
  }

  private static double due(long wanted, double weight) {
    return Math.ceil(wanted * weight);
  }

  private static long surplus(double due) {
    return (long) Math.ceil(due * (1 + SURPLUS));
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
    return lacks(prefix, split, part, "There are no %s data".formatted(part.label()))
        ? null
        : dataset(prefix, split, part, samples).dataset;
  }

  /**
   * Whether a dataset has no sequence for a part that a run can do without, which is logged. Alone
   * or in a blend, such a one is no reason to refuse the run.
   */
  private boolean lacks(String prefix, Split split, Part part, String consequence)
      throws IOException {
    if (part == Part.TRAIN || range(prefix, split, part).size() > 0) {
      return false;
    }
    log.accept(
        "%s: %s has %d sequences%s"
            .formatted(
                consequence,
                prefix,
                open(prefix).sequences(),
                split == null ? "" : ", of which --split " + split.text() + " leaves it none"));
    return true;
  }

  /** The blend of the datasets that have something for a part; null if none has. */
  private Blend having(Blend blend, Split split, Part part) throws IOException {
    List<String> prefixes = new ArrayList<>();
    List<Double> weights = new ArrayList<>();
    for (int i = 0; i < blend.prefixes().size(); i++) {
      String prefix = blend.prefixes().get(i);
      if (!lacks(
          prefix, split, part, "A dataset is left out of the %s data".formatted(part.label()))) {
        prefixes.add(prefix);
        if (blend.weights() != null) {
          weights.add(blend.weights().get(i));
        }
      }
    }
    return prefixes.isEmpty()
        ? null
        : new Blend(prefixes, blend.weights() == null ? null : weights);
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

  private SampleDataset blended(Blend all, Split split, Part part, OptionalLong wanted)
      throws IOException {
    Blend blend = having(all, split, part);
    if (blend == null) {
      log.accept("There are no %s data".formatted(part.label()));
      return null;
    }
    double[] weights = null;
    if (blend.weights() != null) {
      if (wanted.isEmpty()) {
        throw new IllegalArgumentException(
            "weights before prefixes share out a number of %s samples, and none is given (--samples)"
                .formatted(part.label()));
      }
      weights = weights(blend);
    }
    List<Built> built = new ArrayList<>();
    long size = 0;
    for (int i = 0; i < blend.prefixes().size(); i++) {
      OptionalLong samples = OptionalLong.empty();
      if (weights != null) {
        double due = due(wanted.getAsLong(), weights[i]);
        samples = OptionalLong.of(surplus(due));
        size += (long) due;
      }
      built.add(dataset(blend.prefixes().get(i), split, part, samples));
    }
    if (weights != null) {
      return mix(blend, part, built, Blend.normalize(weights), size);
    }
    blend = withSamples(blend, part, built);
    long[] sizes = built.stream().mapToLong(b -> b.dataset.size()).toArray();
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

  /** Removes datasets shorter than one sample from an unweighted blend, which takes each once. */
  private Blend withSamples(Blend blend, Part part, List<Built> built) {
    List<String> prefixes = new ArrayList<>();
    List<Built> rest = new ArrayList<>();
    for (int i = 0; i < built.size(); i++) {
      String prefix = blend.prefixes().get(i);
      if (built.get(i).dataset.size() > 0) {
        prefixes.add(prefix);
        rest.add(built.get(i));
      } else {
        log.accept(
            "A dataset is left out of the %s data: %s has not one %s sample of %d tokens"
                .formatted(part.label(), prefix, part.label(), config.seqLength()));
      }
    }
    if (rest.isEmpty()) {
      throw new IllegalArgumentException(
          "%s have not one %s sample of %d tokens to blend"
              .formatted(String.join(" and ", blend.prefixes()), part.label(), config.seqLength()));
    }
    built.clear();
    built.addAll(rest);
    return new Blend(prefixes, null);
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
    // As in Megatron, blends are cached only in a directory that is given.
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
