package moe4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import moe4j.config.DataFlags;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.console.ProgressLine;
import moe4j.data.Blend;
import moe4j.data.DataConfig;
import moe4j.data.DataSource;
import moe4j.data.GptDatasets;
import moe4j.data.Part;
import moe4j.data.SampleCounts;
import moe4j.data.SampleDataset;
import moe4j.model.gpt.GptCheckpoint;
import moe4j.model.gpt.GptModel;
import moe4j.model.gpt.GptTask;
import moe4j.tokenizer.Tokenizer;
import moe4j.training.step.BatchBuffers;
import moe4j.training.step.ComputeDevice;
import moe4j.training.step.Evaluator;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * {@code moe4j evaluate}: a checkpoint's loss on data.
 *
 * <pre>moe4j evaluate --load runs/demo/experts --part valid</pre>
 */
public final class EvaluateCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(EvaluateCommand.class);

  /** Its flags. */
  public record Options(
      @Flag(help = "directory of checkpoints, the latest of which is used", required = true)
          String load,
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
      @Flag(
              help = "where to compute",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device,
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

  @Override
  public String name() {
    return "evaluate";
  }

  @Override
  public String summary() {
    return "print a checkpoint's loss and perplexity on data";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class, SavedGateFlags.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    String gate = parsed.get(SavedGateFlags.class).balanceStrategy();
    try (ComputeDevice device = ComputeDevice.open(options.device());
        GptCheckpoint checkpoint =
            GptCheckpoint.load(Path.of(options.load()), gate, device.device(), LOG::warn)) {
      GptModel model = checkpoint.model();
      int sequence = model.config().seqLength();
      DataFlags flags =
          checkpoint.data().elsewhere(options.dataPath(), options.split(), options.dataCachePath());
      SampleDataset dataset = dataset(options, flags, sequence, checkpoint.tokenizer());
      long samples = dataset.size();
      if (options.samples() != null && options.samples() > samples) {
        LOG.warn(
            "--samples {}: the {} part has {} sequences of {} tokens; all of them are evaluated",
            options.samples(),
            options.part(),
            samples,
            sequence);
      } else if (options.samples() != null) {
        samples = options.samples();
      }
      int rows = (int) Math.min(options.microBatchSize(), samples);
      BatchBuffers.Form form =
          new BatchBuffers.Form(
              model.parameters().device(),
              rows,
              sequence,
              flags.resetPositionIds(),
              flags.resetAttentionMask());
      try (BatchBuffers buffers = new BatchBuffers(form);
          Evaluator evaluator = new Evaluator(model, buffers)) {
        double loss = loss(evaluator, dataset, samples, sequence);
        System.out.printf(
            Locale.ROOT,
            "%s, iteration %d, %s part: %d sequences of %d tokens | lm loss value: %.6E | lm loss"
                + " PPL: %.6E | bits a token: %.4f%n",
            options.load(),
            checkpoint.iteration(),
            options.part(),
            samples,
            sequence,
            loss,
            Math.exp(Math.min(20, loss)),
            loss / Math.log(2));
      }
    }
    return 0;
  }

  private static double loss(
      Evaluator evaluator, SampleDataset dataset, long samples, int sequence) {
    ProgressLine.Count count = new ProgressLine.Count("sequence", samples, "tok", sequence);
    try (ProgressLine line = ProgressLine.of("", count)) {
      line.done(0);
      return evaluator.loss(dataset, 0, samples, line::done);
    }
  }

  private static SampleDataset dataset(
      Options options, DataFlags flags, int sequence, Tokenizer tokenizer) throws IOException {
    Part part = Part.valueOf(options.part().toUpperCase(Locale.ROOT));
    OptionalLong all = OptionalLong.empty();
    DataConfig config = config(options, flags, part, all, sequence, tokenizer);
    if (options.samples() != null && sharesOut(config.source(), part)) {
      OptionalLong wanted = OptionalLong.of(options.samples());
      config = config(options, flags, part, wanted, sequence, tokenizer);
    }
    SampleDataset dataset = GptDatasets.build(config, sentence -> {}).of(part);
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

  private static DataConfig config(
      Options options,
      DataFlags flags,
      Part part,
      OptionalLong samples,
      int sequence,
      Tokenizer tokenizer)
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
        tokenizer);
  }
}
