package moe4j.examples.gpt;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import java.util.function.LongToDoubleFunction;
import moe4j.data.DataConfig;
import moe4j.data.DataPaths;
import moe4j.data.GptDatasets;
import moe4j.data.SampleCounts;
import moe4j.data.SampleRules;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.tokenizer.Tokenizer;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;
import moe4j.training.DataFlags;
import moe4j.training.Pretraining;
import moe4j.training.RunConfig;
import moe4j.training.Trainer;
import moe4j.training.TrainingConfig;
import moe4j.training.record.FlopCount;
import moe4j.training.record.MegatronLog;
import moe4j.transformer.GptModel;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.TransformerConfig;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/** Pretraining a GPT on Megatron's datasets: its tokenizer, data and model. */
final class GptTask implements Pretraining.Task {
  private static final Logger LOG = LogManager.getLogger(GptTask.class);

  private final RunConfig config;
  private final Tokenizer tokenizer;

  GptTask(RunConfig config) throws IOException {
    this.config = config;
    this.tokenizer = tokenizer(config.data());
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

  /** Dense or with experts, as the flags say. */
  static GptModel model(
      TransformerConfig model, MoeConfig moe, int paddedVocabulary, ParameterSet parameters) {
    return new GptModel(model, paddedVocabulary, Moe.feedForward(model, moe), parameters);
  }

  @Override
  public int vocabulary() {
    return tokenizer.vocabSize();
  }

  @Override
  public LongToDoubleFunction flops(int paddedVocabulary) {
    return FlopCount.of(config.model(), config.moe(), paddedVocabulary)::of;
  }

  @Override
  public GptModel model(int paddedVocabulary, ParameterSet parameters) {
    return model(config.model(), config.moe(), paddedVocabulary, parameters);
  }

  @Override
  public Trainer.Datasets datasets() throws IOException {
    TrainingConfig training = config.training();
    long batch = training.globalBatchSize();
    long train = training.samples();
    long valid = training.validationBatches() * batch;
    long test = training.evalIters() * batch;
    MegatronLog.targetSizes(train, valid, test).forEach(LOG::info);
    GptDatasets datasets =
        GptDatasets.build(
            dataConfig(
                config.data(),
                new SampleCounts(
                    OptionalLong.of(train), OptionalLong.of(valid), OptionalLong.of(test)),
                config.model().seqLength(),
                training.seed(),
                tokenizer),
            LOG::info);
    if (datasets.train() == null && training.steps() > 0) {
      throw new IllegalArgumentException("the data leave nothing to train on (--split)");
    }
    return new Trainer.Datasets(datasets.train(), datasets.valid(), datasets.test());
  }

  /** The data module's view of the flags. */
  static DataConfig dataConfig(
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
