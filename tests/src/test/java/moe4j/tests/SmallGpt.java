package moe4j.tests;

import java.io.IOException;
import java.util.Map;
import java.util.OptionalLong;
import java.util.function.UnaryOperator;
import moe4j.config.DataFlags;
import moe4j.data.DataConfig;
import moe4j.data.DataSource;
import moe4j.data.GptDatasets;
import moe4j.data.SampleCounts;
import moe4j.data.SampleRules;
import moe4j.model.Datasets;
import moe4j.model.LanguageModel;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.transformer.ParameterSet;

/**
 * A GPT on made-up data, for tests that look at a run from within.
 *
 * <p>Its vocabulary is {@code --vocab-size}, the last id the end of document.
 */
final class SmallGpt implements Task {
  private final RunConfig config;
  private final UnaryOperator<LanguageModel> wrapper;
  private ParameterSet parameters;

  /** With something around the model. */
  SmallGpt(RunConfig config, UnaryOperator<LanguageModel> wrapper) {
    this.config = config;
    this.wrapper = wrapper;
  }

  /** The parameters of the run that goes on. */
  ParameterSet parameters() {
    return parameters;
  }

  @Override
  public int vocabulary() {
    return config.data(DataFlags.class).vocabSize();
  }

  @Override
  public Datasets datasets() throws IOException {
    long batch = config.training().globalBatchSize();
    long evaluation = config.training().evalIters() * batch;
    GptDatasets datasets =
        GptDatasets.build(
            new DataConfig(
                new DataSource.Mock(),
                new SampleCounts(
                    OptionalLong.of(config.training().samples()),
                    OptionalLong.of(config.training().validationBatches() * batch),
                    OptionalLong.of(evaluation)),
                config.model().sequenceLength(),
                config.training().seed(),
                SampleRules.plain(vocabulary(), vocabulary() - 1),
                Map.of(),
                null),
            sentence -> {});
    return new Datasets(datasets.train(), datasets.valid(), datasets.test());
  }

  @Override
  public LanguageModel model(int paddedVocabulary, ParameterSet set) {
    parameters = set;
    return wrapper.apply(config.family().model(config.model(), paddedVocabulary, 1, set));
  }
}
