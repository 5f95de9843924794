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
import moe4j.record.PythonFormat;
import org.bytedeco.pytorch.Device;

/** Upstream's eval.py: a Transformer-XL's loss with lengths of its own. */
final class TransformerXlEvaluation implements Evaluation {

  /** Its flags, upstream's with dashes and with its defaults. */
  public record Options(
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
      @Flag(help = "segments to evaluate on; -1 for all", value = "-1") int maxEvalSteps) {

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

  private final Options options;
  private final String title;
  private final TransformerXl trained;
  private final TransformerXl model;
  private final List<Samples> parts = new ArrayList<>();

  /** The evaluation that flags ask for, on a corpus. */
  TransformerXlEvaluation(
      Options options, ByteCorpus corpus, Checkpoint checkpoint, String gate, Device device)
      throws IOException {
    this.options = options;
    this.trained = TransformerXlCheckpoint.model(checkpoint, gate, corpus.vocabulary(), device);
    this.model = trained.with(options.lengths(trained.config()), options.batchSize());
    this.title =
        "checkpoint %s of step %d, vocabulary '%s'"
            .formatted(
                checkpoint.directory(), checkpoint.info().iteration(), corpus.vocabulary().name());
    for (Part part : List.of(Part.VALID, Part.TEST)) {
      String name = part.name().toLowerCase(Locale.ROOT);
      if (options.split().equals("all") || options.split().equals(name)) {
        parts.add(samples(name, corpus, part));
      }
    }
  }

  private Samples samples(String name, ByteCorpus corpus, Part part) {
    int rows = options.batchSize();
    SegmentDataset data = corpus.segments(part, rows, options.tgtLen(), options.extLen(), 1);
    long segments =
        options.maxEvalSteps() < 0
            ? data.segments()
            : Math.min(data.segments(), options.maxEvalSteps());
    return new Samples(
        name,
        data,
        segments * rows,
        rows,
        model.lengths().queries(),
        options.tgtLen(),
        true,
        false);
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
                options.batchSize(),
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
