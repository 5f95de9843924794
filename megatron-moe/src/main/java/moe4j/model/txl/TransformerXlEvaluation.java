package moe4j.model.txl;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.Flag;
import moe4j.data.Part;
import moe4j.data.stream.ByteCorpus;
import moe4j.data.stream.SegmentDataset;
import moe4j.model.Evaluation;
import moe4j.model.LanguageModel;
import moe4j.model.SavedConfig;
import moe4j.record.PythonFormat;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.bytedeco.pytorch.Device;

/**
 * Upstream's eval.py: a Transformer-XL's loss with lengths of its own, or with those of the
 * evaluations that its run made.
 */
final class TransformerXlEvaluation implements Evaluation {
  private static final Logger LOG = LogManager.getLogger(TransformerXlEvaluation.class);

  /** Its flags, upstream's with dashes. */
  public record Options(
      @Flag(
              help = "what to evaluate on",
              value = "all",
              choices = {"all", "valid", "test"})
          String split,
      @Flag(
              help = "columns of the batch",
              otherwise = "the run's --eval-batch-size",
              insteadOf = "micro-batch-size")
          Integer batchSize,
      @Flag(
              help = "positions that are predicted at once",
              otherwise = "the run's --eval-tgt-len",
              insteadOf = "seq-length")
          Integer tgtLen,
      @Flag(help = "positions before them that are computed again", otherwise = "as in training")
          Integer extLen,
      @Flag(
              help = "positions of the memory",
              otherwise =
                  "as in the run's evaluations: its --mem-len, longer by as much as the segment is"
                      + " shorter than its --tgt-len")
          Integer memLen,
      @Flag(help = "distances beyond are as far as this", otherwise = "as in training")
          Integer clampLen,
      @Flag(help = "every position sees as many others") boolean sameLength,
      @Flag(
              help = "segments to evaluate on; -1 for all",
              otherwise = "the run's --max-eval-steps",
              insteadOf = {"eval-iters", "samples"})
          Integer maxEvalSteps) {

    /** Checks ranges. */
    public Options {
      atLeast("batch-size", 1, batchSize);
      atLeast("tgt-len", 1, tgtLen);
      atLeast("ext-len", 0, extLen);
      atLeast("mem-len", 0, memLen);
      if (clampLen != null && clampLen != -1 && clampLen < 1) {
        throw new IllegalArgumentException(
            "--clamp-len %d is neither -1 nor positive".formatted(clampLen));
      }
      if (maxEvalSteps != null && (maxEvalSteps == 0 || maxEvalSteps < -1)) {
        throw new IllegalArgumentException(
            "--max-eval-steps %d is neither -1 nor positive".formatted(maxEvalSteps));
      }
    }

    private static void atLeast(String flag, int least, Integer value) {
      if (value != null && value < least) {
        throw new IllegalArgumentException(
            "--%s %d is too small: it is at least %d".formatted(flag, value, least));
      }
    }

    private boolean leavesLengthsOpen() {
      return tgtLen == null || memLen == null;
    }
  }

  private final EvaluationForm form;
  private final String title;
  private final TransformerXl trained;
  private final TransformerXl model;
  private final List<Samples> parts = new ArrayList<>();

  /** The evaluation that flags ask for, on a corpus. */
  TransformerXlEvaluation(
      Options options, ByteCorpus corpus, Checkpoint checkpoint, String gate, Device device)
      throws IOException {
    this.form = form(options, checkpoint, gate);
    this.title =
        "checkpoint %s of step %d, vocabulary '%s'"
            .formatted(
                checkpoint.directory(), checkpoint.info().iteration(), corpus.vocabulary().name());
    for (Part part : List.of(Part.VALID, Part.TEST)) {
      String name = part.name().toLowerCase(Locale.ROOT);
      boolean any = options.split().equals("all") && corpus.stream(part).length > 0;
      if (any || options.split().equals(name)) {
        parts.add(samples(name, corpus, part));
      }
    }
    if (parts.isEmpty()) {
      throw new IllegalArgumentException(
          "%s has neither validation nor test data to evaluate on".formatted(corpus.source()));
    }
    this.trained = TransformerXlCheckpoint.model(checkpoint, gate, corpus.vocabulary(), device);
    this.model = trained.with(form.lengths(), form.rows());
  }

  private static EvaluationForm form(Options options, Checkpoint checkpoint, String gate) {
    SavedConfig saved = SavedConfig.of(checkpoint, gate);
    TrainingFlags run = saved.more("training", TrainingFlags.class).orElse(null);
    TransformerXlConfig trained = saved.model("txl").flags(TransformerXlConfig.class);
    if (run == null && options.leavesLengthsOpen()) {
      LOG.warn(
          "checkpoint {} does not tell how its run was evaluated: what --tgt-len and --mem-len leave"
              + " open is as in training",
          checkpoint.directory());
    }
    return EvaluationForm.of(options, trained, run);
  }

  private Samples samples(String name, ByteCorpus corpus, Part part) {
    int rows = form.rows();
    TransformerXlConfig.Lengths lengths = form.lengths();
    SegmentDataset data = corpus.segments(part, rows, lengths.target(), lengths.extended(), 1);
    long segments =
        form.mostSegments() < 0 ? data.segments() : Math.min(data.segments(), form.mostSegments());
    return new Samples(
        name, data, segments * rows, rows, lengths.queries(), lengths.target(), true, false);
  }

  @Override
  public LanguageModel model() {
    return model;
  }

  @Override
  public List<Samples> parts() {
    return parts;
  }

  @Override
  public List<String> begin() {
    TransformerXlConfig.Lengths lengths = model.lengths();
    return List.of(
        title,
        "Evaluating with bsz %d tgt_len %d ext_len %d mem_len %d clamp_len %d"
            .formatted(
                form.rows(),
                lengths.target(),
                lengths.extended(),
                lengths.memory(),
                lengths.clamp()));
  }

  @Override
  public List<String> done(Samples part, double seconds) {
    double segments = (double) part.samples() / part.rows();
    return List.of(
        String.format(
            Locale.ROOT, "Time : %.2fs, %.2fms/segment", seconds, 1000 * seconds / segments));
  }

  @Override
  public List<String> end(List<Double> losses) {
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < losses.size(); i++) {
      String name = parts.get(i).name();
      line.append(
          "| %s loss %5s | %s bpc %9s "
              .formatted(
                  name,
                  PythonFormat.fixed(losses.get(i), 2),
                  name,
                  PythonFormat.fixed(UpstreamLog.bpc(losses.get(i)), 5)));
    }
    String equals = "=".repeat(100);
    return List.of(equals, line.toString(), equals);
  }

  @Override
  public void close() {
    trained.parameters().close();
  }
}
