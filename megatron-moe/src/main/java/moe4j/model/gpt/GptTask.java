package moe4j.model.gpt;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import moe4j.config.DataFlags;
import moe4j.config.TrainingConfig;
import moe4j.data.DataConfig;
import moe4j.data.DataPaths;
import moe4j.data.DataSource;
import moe4j.data.GptDatasets;
import moe4j.data.Part;
import moe4j.data.SampleCounts;
import moe4j.data.SampleRules;
import moe4j.model.Datasets;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.model.TrainState;
import moe4j.record.MegatronLog;
import moe4j.tokenizer.Tokenizer;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;
import moe4j.transformer.ParameterSet;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/** Pretraining a GPT on Megatron's datasets: its tokenizer, data and model. */
public final class GptTask implements Task {
  private static final Logger LOG = LogManager.getLogger(GptTask.class);

  private final RunConfig config;
  private final Tokenizer tokenizer;
  private Map<String, String> place;

  /**
   * The task of a run.
   *
   * @throws IOException where the tokenizer cannot be read
   */
  public GptTask(RunConfig config) throws IOException {
    this.config = config;
    this.tokenizer = tokenizer(config.data(DataFlags.class));
  }

  /** The tokenizer that data flags name. */
  static Tokenizer tokenizer(DataFlags flags) throws IOException {
    if (flags.tokenizerType() == null && flags.vocabSize() == null) {
      throw new IllegalArgumentException(
          "--tokenizer-type is required, or --vocab-size without one");
    }
    return Tokenizers.of(
        new TokenizerConfig(
            flags.tokenizerType() == null ? "NullTokenizer" : flags.tokenizerType(),
            path(flags.tokenizerModel()),
            path(flags.vocabFile()),
            path(flags.mergeFile()),
            flags.vocabSize(),
            !flags.tokenizerHfNoIncludeSpecialTokens()));
  }

  private static Path path(String name) {
    return name == null ? null : Path.of(name);
  }

  @Override
  public int vocabulary() {
    return tokenizer.vocabSize();
  }

  @Override
  public GptModel model(int paddedVocabulary, ParameterSet parameters) {
    return new GptFamily().model(config.model(), paddedVocabulary, 1, parameters);
  }

  @Override
  public Datasets datasets() throws IOException {
    return datasets(TrainState.start());
  }

  @Override
  public Datasets datasets(TrainState from) throws IOException {
    TrainingConfig training = config.training();
    DataConfig data = dataConfig(training, from);
    MegatronLog.targetSizes(
            data.samples().train().orElseThrow(),
            data.samples().valid().orElseThrow(),
            data.samples().test().orElseThrow())
        .forEach(LOG::info);
    GptDatasets datasets = GptDatasets.build(data, LOG::info);
    if (datasets.train() == null && training.steps() > 0) {
      throw new IllegalArgumentException("the data leave nothing to train on (--split)");
    }
    return new Datasets(datasets.train(), datasets.valid(), datasets.test());
  }

  /** The run's data, as many as some flags ask for. */
  private DataConfig dataConfig(TrainingConfig counts, TrainState from) throws IOException {
    return dataConfig(
        config.data(DataFlags.class),
        new SampleCounts(
            OptionalLong.of(from.trainSamples(counts)),
            OptionalLong.of(from.validationSamples(counts)),
            OptionalLong.of((long) counts.evalIters() * counts.globalBatchSize())),
        config.model().sequenceLength(),
        config.training().seed(),
        tokenizer);
  }

  @Override
  public Map<String, String> place() throws IOException {
    if (place == null) {
      DataConfig data = dataConfig(config.training(), TrainState.start());
      Map<String, String> all = new LinkedHashMap<>();
      all.put("--data-path", GptDatasets.identity(data));
      if (data.source() instanceof DataSource.Shared shared) {
        all.put("--split", shared.split().shares());
      }
      all.put("--seq-length", String.valueOf(config.model().sequenceLength()));
      all.put("--seed", String.valueOf(config.training().seed()));
      place = all;
    }
    return place;
  }

  @Override
  public List<String> reordered(TrainingConfig before, TrainState from) throws IOException {
    DataConfig was = dataConfig(before, from);
    DataConfig is = dataConfig(config.training(), from);
    List<String> sentences = new ArrayList<>();
    for (Part part : List.of(Part.TRAIN, Part.VALID)) {
      long asked = was.samples().of(part).orElseThrow();
      long asks = is.samples().of(part).orElseThrow();
      if (asked == asks || asked == 0 || asks == 0) {
        continue;
      }
      List<String> order = GptDatasets.order(was, part);
      List<String> now = GptDatasets.order(is, part);
      if (!order.equals(now)) {
        sentences.add(
            ("the %s data come in another order from here on, and some may come again: for %d samples"
                    + " (it was %d) they are shuffled as %s, and not as %s")
                .formatted(
                    part == Part.TRAIN ? "training" : "validation",
                    asks,
                    asked,
                    String.join(" and ", now),
                    String.join(" and ", order)));
      }
    }
    return sentences;
  }

  /** The data module's view of the flags. */
  public static DataConfig dataConfig(
      DataFlags flags, SampleCounts counts, int seqLength, long seed, Tokenizer tokenizer)
      throws IOException {
    DataPaths paths =
        new DataPaths(
            list(flags.dataPath()),
            path(flags.dataArgsPath()),
            list(flags.trainDataPath()),
            list(flags.validDataPath()),
            list(flags.testDataPath()),
            path(flags.perSplitDataArgsPath()),
            flags.mockData(),
            flags.split());
    return new DataConfig(
        paths.source(),
        counts,
        seqLength,
        seed,
        new SampleRules(
            tokenizer.vocabSize(),
            tokenizer.eod(),
            tokenizer.pad(),
            flags.resetPositionIds(),
            flags.resetAttentionMask(),
            flags.eodMaskLoss()),
        tokenizer.identity(),
        path(flags.dataCachePath()));
  }

  private static List<String> list(List<String> given) {
    return given.isEmpty() ? null : given;
  }
}
