package moe4j.model.txl;

import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import moe4j.config.Flags;
import moe4j.data.Part;
import moe4j.data.SampleDataset;
import moe4j.data.stream.ByteCorpus;
import moe4j.data.stream.SegmentDataset;
import moe4j.model.Datasets;
import moe4j.model.LanguageModel;
import moe4j.model.LogLines;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.model.WholeSets;
import moe4j.parallel.WorldEnvironment;
import moe4j.transformer.ParameterSet;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/** Pretraining a Transformer-XL on a byte corpus: its data, its model, its evaluations. */
public final class TransformerXlTask implements Task {
  private static final Logger LOG = LogManager.getLogger(TransformerXlTask.class);

  /** Upstream's names of what Megatron calls otherwise. */
  private static final Map<String, String> RENAMED =
      Map.of(
          "train_iters", "max-step",
          "lr_decay_style", "scheduler",
          "lr_warmup_iters", "warmup-step",
          "min_lr", "eta-min",
          "clip_grad", "clip");

  private static final Set<String> NAMES = Flags.of(TransformerXlRun.PARTS).names();

  private final TransformerXlRun run;
  private final WorldEnvironment environment;
  private final ByteCorpus corpus;
  private final SegmentDataset train;
  private final boolean evaluates;

  /** The task of one of a run's processes; reads the corpus. */
  public TransformerXlTask(TransformerXlRun run, WorldEnvironment environment) throws IOException {
    this(run, environment, true);
  }

  /**
   * The same.
   *
   * @param evaluates or trains alone: whole sets take longer than the steps of a bench
   */
  public TransformerXlTask(TransformerXlRun run, WorldEnvironment environment, boolean evaluates)
      throws IOException {
    this.evaluates = evaluates;
    this.run = run;
    this.environment = environment;
    this.corpus = run.corpus().open();
    SegmentDataset epoch = segments(Part.TRAIN, run.training().batchSize(), 1);
    long epochs = run.training().maxStep() / epoch.segments() + 1L;
    this.train = segments(Part.TRAIN, run.training().batchSize(), epochs);
  }

  private SegmentDataset segments(Part part, int columns, long epochs) {
    TransformerXlConfig.Lengths lengths =
        part == Part.TRAIN ? run.model().lengths() : evaluationLengths();
    return corpus.segments(part, columns, lengths.target(), lengths.extended(), epochs);
  }

  private TransformerXlConfig.Lengths evaluationLengths() {
    return run.model().lengths().evaluation(run.training().evalTgtLen());
  }

  @Override
  public int vocabulary() {
    return corpus.vocabulary().size();
  }

  @Override
  public Datasets datasets() {
    LOG.info(
        "{}: {} bytes told apart, vocabulary '{}' of {} symbols; {} / {} / {} symbols for"
            + " training, validation and test; {} steps an epoch",
        corpus.source(),
        corpus.distinctBytes(),
        corpus.vocabulary().name(),
        vocabulary(),
        corpus.stream(Part.TRAIN).length,
        corpus.stream(Part.VALID).length,
        corpus.stream(Part.TEST).length,
        train.segments());
    return new Datasets(train, evaluated(Part.VALID), evaluated(Part.TEST));
  }

  /** A set to evaluate on; null where the split leaves it nothing. */
  private SampleDataset evaluated(Part part) {
    return !evaluates || corpus.stream(part).length == 0
        ? null
        : segments(part, run.training().evalBatchSize(), 1);
  }

  @Override
  public TransformerXl model(int paddedVocabulary, ParameterSet parameters) {
    RunConfig config = run.config();
    return new TransformerXlFamily()
        .model(config.model(), paddedVocabulary, config.training().microBatchSize(), parameters);
  }

  @Override
  public WholeSets wholeSets(LanguageModel model) {
    if (!evaluates) {
      return null;
    }
    int ranks = run.config().parallel().layout(environment.size()).data();
    int rows = run.training().evalBatchSize() / ranks;
    TransformerXlConfig.Lengths lengths = evaluationLengths();
    return new WholeSets(
        ((TransformerXl) model).with(lengths, rows),
        rows,
        lengths.queries(),
        Math.max(0, run.training().maxEvalSteps()));
  }

  @Override
  public Map<String, Object> arguments(RunConfig config) {
    return run.arguments();
  }

  @Override
  public Map<String, Object> differing(RunConfig config) {
    return run.differing();
  }

  @Override
  public LogLines logLines() {
    String directory = environment.rank() == 0 ? run.workDir() : null;
    return new UpstreamLog(
        directory == null ? null : Path.of(directory),
        train.segments(),
        run.training().evalInterval(),
        System::nanoTime);
  }

  @Override
  public Map<String, String> lasting() {
    // A step's text follows from its number and these.
    Map<String, String> lasting = new LinkedHashMap<>();
    lasting.put("--batch-size", String.valueOf(run.training().batchSize()));
    lasting.put("--vocabulary", corpus.vocabulary().name());
    return lasting;
  }

  @Override
  public Map<String, String> place() {
    // The seed says nothing here: segments follow each other as in the text.
    return Map.of(SavedSymbols.CORPUS, corpus.identity());
  }

  @Override
  public Map<String, String> facts() {
    return SavedSymbols.facts(corpus.vocabulary());
  }

  @Override
  public String flag(String argument) {
    String name = RENAMED.getOrDefault(argument, argument.replace('_', '-'));
    return NAMES.contains(name) ? name : null;
  }
}
