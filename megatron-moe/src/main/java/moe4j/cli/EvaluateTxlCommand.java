package moe4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Dtype;
import moe4j.checkpoint.Section;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.console.ProgressLine;
import moe4j.data.Part;
import moe4j.data.stream.ByteCorpus;
import moe4j.data.stream.SegmentDataset;
import moe4j.model.ModelSpec;
import moe4j.model.ModelState;
import moe4j.model.SavedConfig;
import moe4j.model.txl.CorpusFlags;
import moe4j.model.txl.TransformerXl;
import moe4j.model.txl.TransformerXlConfig;
import moe4j.model.txl.TransformerXlFamily;
import moe4j.model.txl.UpstreamLog;
import moe4j.record.PythonFormat;
import moe4j.training.run.BestModel;
import moe4j.training.step.BatchBuffers;
import moe4j.training.step.ComputeDevice;
import moe4j.training.step.Evaluator;
import moe4j.transformer.ParameterSet;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@code moe4j evaluate-txl}: upstream's eval.py, a checkpoint's loss with lengths of its own.
 *
 * <pre>
 * moe4j evaluate-txl --load runs/enwik8-base --data corpora/enwik8 --device cuda \
 *   --tgt-len 80 --mem-len 2100 --clamp-len 820 --same-length --split test
 * </pre>
 */
public final class EvaluateTxlCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(EvaluateTxlCommand.class);

  /** Its flags, upstream's with dashes and with its defaults. */
  public record Options(
      @Flag(
              help =
                  "--work-dir of a run, whose best model is used, or any directory of checkpoints",
              required = true)
          String load,
      @Flag(
              help = "what to evaluate on",
              value = "all",
              choices = {"all", "valid", "test"})
          String split,
      @Flag(help = "columns of the batch", value = "10") int batchSize,
      @Flag(help = "positions that are predicted at once", value = "5") int tgtLen,
      @Flag(help = "positions before them that are computed again", value = "0") int extLen,
      @Flag(help = "positions of the memory", value = "0") int memLen,
      @Flag(help = "distances beyond are as far as this", otherwise = "as in training")
          Integer clampLen,
      @Flag(help = "every position sees as many others") boolean sameLength,
      @Flag(help = "segments to evaluate on; -1 for all", value = "-1") int maxEvalSteps,
      @Flag(
              help = "where to compute",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device) {

    /** Checks ranges. */
    public Options {
      if (batchSize < 1 || tgtLen < 1 || extLen < 0 || memLen < 0) {
        throw new IllegalArgumentException(
            "--batch-size %d, --tgt-len %d, --ext-len %d, --mem-len %d: the first two are at least 1, the others at least 0"
                .formatted(batchSize, tgtLen, extLen, memLen));
      }
      if (clampLen != null && clampLen != -1 && clampLen < 1) {
        throw new IllegalArgumentException(
            "--clamp-len %d is neither -1 nor positive".formatted(clampLen));
      }
      if (maxEvalSteps == 0 || maxEvalSteps < -1) {
        throw new IllegalArgumentException(
            "--max-eval-steps %d is neither -1 nor positive".formatted(maxEvalSteps));
      }
    }

    TransformerXlConfig.Lengths lengths(TransformerXlConfig trained) {
      boolean same = sameLength || trained.sameLength();
      if (same && memLen == 0) {
        throw new IllegalArgumentException(
            "--mem-len 0: with --same-length every position sees --mem-len others");
      }
      return new TransformerXlConfig.Lengths(
          tgtLen, extLen, memLen, same, clampLen == null ? trained.clampLen() : clampLen);
    }
  }

  @Override
  public String name() {
    return "evaluate-txl";
  }

  @Override
  public String summary() {
    return "print a Transformer-XL checkpoint's bits per character, with lengths of your own";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class, CorpusFlags.class, SavedGateFlags.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    ByteCorpus corpus = parsed.get(CorpusFlags.class).open();
    try (ComputeDevice device = ComputeDevice.open(options.device());
        Checkpoint checkpoint = open(Path.of(options.load()))) {
      checkVocabulary(checkpoint, corpus);
      Dtype saved = checkpoint.tensor("decoder.r_w_bias").dtype();
      ScalarType type = saved == Dtype.BF16 ? ScalarType.BFloat16 : ScalarType.Float;
      try (ParameterSet parameters = new ParameterSet(0, type, device.device())) {
        String gate = parsed.get(SavedGateFlags.class).balanceStrategy();
        TransformerXl trained = model(checkpoint, gate, corpus.vocabulary().size(), parameters);
        TransformerXlConfig.Lengths lengths = options.lengths(trained.config());
        TransformerXl model = trained.with(lengths, options.batchSize());
        System.out.printf(
            "checkpoint %s of step %d, vocabulary '%s'%n",
            checkpoint.directory(), checkpoint.info().iteration(), corpus.vocabulary().name());
        System.out.printf(
            "Evaluating with bsz %d tgt_len %d ext_len %d mem_len %d clamp_len %d%n",
            options.batchSize(),
            lengths.target(),
            lengths.extended(),
            lengths.memory(),
            lengths.clamp());
        evaluate(options, corpus, model);
      }
    }
    return 0;
  }

  /** The best model of a run, or the latest of a directory without one. */
  private static Checkpoint open(Path directory) throws IOException {
    Path best = directory.resolve(BestModel.DIRECTORY);
    return new CheckpointStore(Files.isDirectory(best) ? best : directory, -1)
        .loadLatest(EnumSet.of(Section.MODEL), LOG::warn)
        .orElseThrow(() -> new IOException("--load %s holds no checkpoint".formatted(directory)));
  }

  /** With clusters of symbols, each a tensor of its own, their sizes are checked in loading. */
  private static void checkVocabulary(Checkpoint checkpoint, ByteCorpus corpus) throws IOException {
    if (!checkpoint.contains("decoder.r_w_bias")) {
      throw new IllegalArgumentException(
          "checkpoint %s is no Transformer-XL's".formatted(checkpoint.directory()));
    }
    String bias = "output_layer.bias";
    int wanted = corpus.vocabulary().size();
    if (checkpoint.contains(bias) && checkpoint.tensor(bias).shape().get(0) != wanted) {
      throw new IllegalArgumentException(
          "checkpoint %s knows %d symbols, and the data with --vocabulary %s have %d"
              .formatted(
                  checkpoint.directory(),
                  checkpoint.tensor(bias).shape().get(0),
                  corpus.vocabulary().name(),
                  wanted));
    }
  }

  private static TransformerXl model(
      Checkpoint checkpoint, String gate, int vocabulary, ParameterSet parameters)
      throws IOException {
    ModelSpec spec = SavedConfig.of(checkpoint, gate).model("txl");
    TransformerXlConfig config = spec.flags(TransformerXlConfig.class);
    parameters.expect(ModelState.expectation(checkpoint));
    // The training's memories come along.
    int rows =
        config.memLen() == 0
            ? 1
            : Math.toIntExact(checkpoint.tensor("memory.layers.0").shape().get(0));
    TransformerXl model = new TransformerXlFamily().model(spec, vocabulary, rows, parameters);
    ModelState.loadModel(checkpoint, parameters);
    return model;
  }

  private static double loss(
      Evaluator evaluator, SegmentDataset data, long sequences, int targets, String part) {
    ProgressLine.Count count = new ProgressLine.Count("sequence", sequences, "tok", targets);
    try (ProgressLine line = ProgressLine.of(part, count)) {
      line.done(0);
      return evaluator.loss(data, 0, sequences, line::done);
    }
  }

  private static void evaluate(Options options, ByteCorpus corpus, TransformerXl model) {
    List<String> line = new ArrayList<>();
    for (Part part : List.of(Part.VALID, Part.TEST)) {
      String name = part == Part.VALID ? "valid" : "test";
      if (!options.split().equals("all") && !options.split().equals(name)) {
        continue;
      }
      SegmentDataset data =
          corpus.segments(part, options.batchSize(), options.tgtLen(), options.extLen(), 1);
      long segments =
          options.maxEvalSteps() < 0
              ? data.segments()
              : Math.min(data.segments(), options.maxEvalSteps());
      BatchBuffers.Form form =
          new BatchBuffers.Form(
              model.parameters().device(),
              options.batchSize(),
              model.lengths().queries(),
              true,
              false);
      long start = System.nanoTime();
      try (BatchBuffers buffers = new BatchBuffers(form);
          Evaluator evaluator = new Evaluator(model, buffers)) {
        double loss = loss(evaluator, data, segments * options.batchSize(), options.tgtLen(), name);
        double seconds = (System.nanoTime() - start) * 1e-9;
        System.out.printf(
            Locale.ROOT, "Time : %.2fs, %.2fms/segment%n", seconds, 1000 * seconds / segments);
        line.add(
            "| %s loss %5s | %s bpc %9s "
                .formatted(
                    name,
                    PythonFormat.fixed(loss, 2),
                    name,
                    PythonFormat.fixed(UpstreamLog.bpc(loss), 5)));
      }
    }
    String equals = "=".repeat(100);
    System.out.printf("%s%n%s%n%s%n", equals, String.join("", line), equals);
  }
}
