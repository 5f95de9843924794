package moe4j.model.gpt;

import java.io.IOException;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import moe4j.config.DataFlags;
import moe4j.config.Flag;
import moe4j.data.Blend;
import moe4j.data.DataConfig;
import moe4j.data.DataSource;
import moe4j.data.GptDatasets;
import moe4j.data.Part;
import moe4j.data.SampleCounts;
import moe4j.data.SampleDataset;
import moe4j.model.Evaluation;
import moe4j.model.LanguageModel;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/** A GPT on a part of the data that it was trained with, or of others. */
final class GptEvaluation implements Evaluation {
  private static final Logger LOG = LogManager.getLogger(GptEvaluation.class);

  /** Its flags. */
  public record Options(
      @Flag(help = "prefixes of other data than the checkpoint's, or weights and prefixes in turn")
          List<String> dataPath,
      @Flag(help = "shares of the three parts of that data", otherwise = "the checkpoint's")
          String split,
      @Flag(help = "directory for index files", otherwise = "cache beside the data")
          String dataCachePath,
      @Flag(
              help = "part of the data",
              value = "valid",
              choices = {"train", "valid", "test"})
          String part,
      @Flag(help = "sequences to evaluate on", otherwise = "all of the part") Long samples,
      @Flag(help = "sequences at a time", value = "8") int microBatchSize,
      @Flag(help = "seed of the data order", value = "1234") int seed) {

    /** Checks ranges. */
    public Options {
      if (microBatchSize < 1 || (samples != null && samples < 1)) {
        throw new IllegalArgumentException(
            "--micro-batch-size %d and --samples %s: both are to be positive"
                .formatted(microBatchSize, samples));
      }
    }
  }

  private final String directory;
  private final Options options;
  private final GptCheckpoint checkpoint;
  private final Samples part;

  /**
   * The evaluation that flags ask for.
   *
   * @param directory what it is called in what is said
   * @param checkpoint is closed with it
   */
  GptEvaluation(String directory, Options options, GptCheckpoint checkpoint) throws IOException {
    this.directory = directory;
    this.options = options;
    this.checkpoint = checkpoint;
    int sequence = checkpoint.model().config().seqLength();
    DataFlags flags =
        checkpoint.data().elsewhere(options.dataPath(), options.split(), options.dataCachePath());
    SampleDataset dataset = dataset(flags, sequence);
    long samples = samples(dataset.size(), sequence);
    this.part =
        new Samples(
            "",
            dataset,
            samples,
            (int) Math.min(options.microBatchSize(), samples),
            sequence,
            sequence,
            flags.resetPositionIds(),
            flags.resetAttentionMask());
  }

  private long samples(long there, int sequence) {
    if (options.samples() == null) {
      LOG.info(
          "evaluating all {} sequences of the {} part; --samples asks for fewer",
          there,
          options.part());
      return there;
    }
    if (options.samples() > there) {
      LOG.warn(
          "--samples {}: the {} part has {} sequences of {} tokens; all of them are evaluated",
          options.samples(),
          options.part(),
          there,
          sequence);
      return there;
    }
    return options.samples();
  }

  @Override
  public LanguageModel model() {
    return checkpoint.model();
  }

  @Override
  public List<Samples> parts() {
    return List.of(part);
  }

  @Override
  public List<String> end(List<Double> losses) {
    double loss = losses.get(0);
    return List.of(
        String.format(
            Locale.ROOT,
            "%s, iteration %d, %s part: %d sequences of %d tokens | lm loss value: %.6E | lm loss"
                + " PPL: %.6E | bits a token: %.4f",
            directory,
            checkpoint.iteration(),
            options.part(),
            part.samples(),
            part.sequence(),
            loss,
            Math.exp(Math.min(20, loss)),
            loss / Math.log(2)));
  }

  @Override
  public void close() {
    checkpoint.close();
  }

  private SampleDataset dataset(DataFlags flags, int sequence) throws IOException {
    Part wanted = Part.valueOf(options.part().toUpperCase(Locale.ROOT));
    DataConfig config = config(flags, wanted, OptionalLong.empty(), sequence);
    if (options.samples() != null && sharesOut(config.source(), wanted)) {
      config = config(flags, wanted, OptionalLong.of(options.samples()), sequence);
    }
    SampleDataset dataset = GptDatasets.build(config, sentence -> {}).of(wanted);
    if (dataset == null) {
      throw new IllegalArgumentException("the data have no %s part".formatted(options.part()));
    }
    if (dataset.size() == 0) {
      throw new IllegalArgumentException(
          "the %s part of the data has not one sample of %d tokens"
              .formatted(options.part(), sequence));
    }
    return dataset;
  }

  /** Whether a number of samples is what the data are made of: of others, each counts once. */
  private static boolean sharesOut(DataSource source, Part part) {
    if (source instanceof DataSource.Shared shared) {
      return shared.blend().weights() != null;
    } else if (source instanceof DataSource.PerPart perPart) {
      Blend blend = perPart.blends().get(part);
      return blend != null && blend.weights() != null;
    }
    return true;
  }

  private DataConfig config(DataFlags flags, Part part, OptionalLong samples, int sequence)
      throws IOException {
    OptionalLong nothing = OptionalLong.of(0);
    return GptTask.dataConfig(
        flags,
        new SampleCounts(
            part == Part.TRAIN ? samples : nothing,
            part == Part.VALID ? samples : nothing,
            part == Part.TEST ? samples : nothing),
        sequence,
        options.seed(),
        checkpoint.tokenizer());
  }
}
