package moe4j.model.txl;

import java.io.IOException;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.CheckpointConfig;
import moe4j.config.Flags;
import moe4j.config.TrainingConfig;
import moe4j.cost.Costs;
import moe4j.data.stream.ByteVocabulary;
import moe4j.model.Divisions;
import moe4j.model.Evaluation;
import moe4j.model.ModelFamily;
import moe4j.model.ModelSpec;
import moe4j.model.RunConfig;
import moe4j.model.RunWords;
import moe4j.model.SaveWords;
import moe4j.model.Task;
import moe4j.model.TextModel;
import moe4j.moe.Moe;
import moe4j.parallel.ParallelConfig;
import moe4j.parallel.WorldEnvironment;
import moe4j.transformer.LayerShape;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;

/** Transformer-XL on bytes, dense or with experts, by the flags of its authors' program. */
public final class TransformerXlFamily implements ModelFamily {
  /** The family; {@link moe4j.model.ModelFamilies} makes it, too. */
  public TransformerXlFamily() {}

  @Override
  public String name() {
    return "txl";
  }

  @Override
  public String title() {
    return "Transformer-XL";
  }

  @Override
  public Class<? extends Record> modelFlags() {
    return TransformerXlConfig.class;
  }

  @Override
  public Class<? extends Record> dataFlags() {
    return CorpusFlags.class;
  }

  @Override
  public List<Class<? extends Record>> flagRecords() {
    return TransformerXlRun.PARTS;
  }

  @Override
  public List<Class<? extends Record>> presetFlags() {
    return List.of(Presets.Options.class);
  }

  @Override
  public String[] expand(String[] args, Consumer<String> say) {
    return Presets.expand(args, say);
  }

  @Override
  public void checkStart(RunConfig run, boolean again) throws IOException {
    TransformerXlRun.of(run).checkRestart(again);
  }

  @Override
  public RunWords words() {
    return new RunWords(
        "step",
        "--max-step",
        "--batch-size",
        new SaveWords("--work-dir", "--work-dir", "--work-dir %s --restart", null));
  }

  @Override
  public RunConfig run(Flags.Parsed parsed, int processes) {
    return TransformerXlRun.of(parsed, processes).config();
  }

  private static TransformerXlConfig config(ModelSpec model) {
    return model.flags(TransformerXlConfig.class);
  }

  @Override
  public Set<String> mayDiffer(Record flags) {
    return Set.of("dropout", "dropatt", "init_std", "proj_init_std");
  }

  @Override
  public LayerShape layerShape(Record flags) {
    return ((TransformerXlConfig) flags).layerShape();
  }

  @Override
  public String layersFlag() {
    return "--n-layer";
  }

  @Override
  public int sequenceLength(Record flags) {
    return ((TransformerXlConfig) flags).lengths().queries();
  }

  @Override
  public boolean readsPositions(Record data) {
    // By them it knows how much of its memory there is.
    return true;
  }

  @Override
  public void check(ModelSpec model) {
    if (model.moeLayers() > 0) {
      model.moe().expertHiddenSize(model.layerShape(), "--d-inner");
    }
  }

  @Override
  public void checkDivision(ModelSpec model, TrainingConfig training, ParallelConfig parallel) {
    Divisions.check(TransformerXlCosts.divisible(config(model), model.moe()), parallel);
    Divisions.checkExperts(model, parallel);
  }

  @Override
  public Costs costs(ModelSpec model, int paddedVocabulary) {
    return TransformerXlCosts.of(config(model), model.moe(), paddedVocabulary);
  }

  @Override
  public TransformerXl model(
      ModelSpec model, int paddedVocabulary, int rows, ParameterSet parameters) {
    return TransformerXl.create(
        config(model),
        paddedVocabulary,
        rows,
        Moe.feedForward(model.layerShape(), model.moe()),
        parameters);
  }

  @Override
  public Task task(RunConfig run, WorldEnvironment environment) throws IOException {
    return new TransformerXlTask(TransformerXlRun.of(run), environment);
  }

  /** Nothing is kept of a bench. */
  @Override
  public RunConfig benchRun(RunConfig run) {
    return run.withCheckpoint(CheckpointConfig.builder().build());
  }

  /** Whole sets take longer than the steps of a bench. */
  @Override
  public Task benchTask(RunConfig run, WorldEnvironment environment) throws IOException {
    return new TransformerXlTask(TransformerXlRun.of(run), environment, false);
  }

  @Override
  public boolean usesBest() {
    return true;
  }

  @Override
  public List<Class<? extends Record>> evaluationFlags() {
    return List.of(TransformerXlEvaluation.Options.class, SavedCorpus.class);
  }

  @Override
  public Evaluation evaluation(
      String directory, Checkpoint checkpoint, String gate, Flags.Parsed parsed, Device device)
      throws IOException {
    return new TransformerXlEvaluation(
        parsed.get(TransformerXlEvaluation.Options.class),
        parsed.get(SavedCorpus.class).open(checkpoint),
        checkpoint,
        gate,
        device);
  }

  @Override
  public List<Class<? extends Record>> textFlags() {
    return List.of(SavedCorpus.class);
  }

  @Override
  public TextModel text(Checkpoint checkpoint, String gate, Flags.Parsed parsed, Device device)
      throws IOException {
    ByteVocabulary vocabulary = parsed.get(SavedCorpus.class).symbols(checkpoint);
    return new TransformerXlText(
        TransformerXlCheckpoint.model(checkpoint, gate, vocabulary, device), vocabulary);
  }
}
