package moe4j.model.gpt;

import java.io.IOException;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.DataFlags;
import moe4j.config.Flags;
import moe4j.cost.Costs;
import moe4j.model.Evaluation;
import moe4j.model.ModelFamily;
import moe4j.model.ModelSpec;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.model.TextModel;
import moe4j.model.Upcycled;
import moe4j.model.Upcycling;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.parallel.ParallelConfig;
import moe4j.parallel.WorldEnvironment;
import moe4j.transformer.LayerShape;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;

/** GPT, dense or with experts, by Megatron's flags. */
public final class GptFamily implements ModelFamily {
  /** The family; {@link moe4j.model.ModelFamilies} makes it, too. */
  public GptFamily() {}

  @Override
  public String name() {
    return "gpt";
  }

  @Override
  public String title() {
    return "GPT";
  }

  @Override
  public Class<? extends Record> modelFlags() {
    return GptConfig.class;
  }

  @Override
  public Class<? extends Record> dataFlags() {
    return DataFlags.class;
  }

  @Override
  public Flags flags(List<Class<? extends Record>> own) {
    return ModelFamily.super.flags(own).withMegatrons();
  }

  /** A run of one process from its command line. */
  public static RunConfig parse(String... args) {
    return parse(1, args);
  }

  /** A run of so many processes from its command line, which is the same for all of them. */
  public static RunConfig parse(int processes, String... args) {
    GptFamily family = new GptFamily();
    return family.run(family.flags().parse(args).withoutPositional(), processes);
  }

  /** A GPT by its flags. */
  public static ModelSpec spec(GptConfig config, MoeConfig moe) {
    return new ModelSpec(new GptFamily(), config, moe);
  }

  private static GptConfig config(ModelSpec model) {
    return model.flags(GptConfig.class);
  }

  @Override
  public Set<String> mayDiffer(Record flags) {
    Set<String> free =
        Set.of(
            "attention_dropout",
            "hidden_dropout",
            "init_method_std",
            "seq_length",
            // The padded vocabulary is compared, not what it is a multiple of.
            "make_vocab_size_divisible_by");
    if (((GptConfig) flags).positionEmbeddingType().equals("learned_absolute")) {
      return free;
    }
    // It is the size of the table of learned positions, and otherwise of nothing.
    Set<String> more = new HashSet<>(free);
    more.add("max_position_embeddings");
    return more;
  }

  @Override
  public LayerShape layerShape(Record flags) {
    return ((GptConfig) flags).layerShape();
  }

  @Override
  public int sequenceLength(Record flags) {
    return ((GptConfig) flags).seqLength();
  }

  @Override
  public int paddedVocabulary(Record flags, int vocabulary) {
    return ((GptConfig) flags).paddedVocabulary(vocabulary);
  }

  @Override
  public boolean readsPositions(Record data) {
    return ((DataFlags) data).resetPositionIds();
  }

  @Override
  public boolean readsDocuments(Record data) {
    return ((DataFlags) data).resetAttentionMask();
  }

  @Override
  public String vocabularyParameter() {
    return GptModel.WORD_EMBEDDINGS;
  }

  @Override
  public void checkVocabulary(ModelSpec model, int padded, ParallelConfig parallel) {
    int tensor = parallel.tensorModelParallelSize();
    if (padded % tensor != 0) {
      throw new IllegalArgumentException(
          ("the padded vocabulary of %d cannot be cut into --tensor-model-parallel-size %d parts:"
                  + " --make-vocab-size-divisible-by %d would do")
              .formatted(padded, tensor, config(model).makeVocabSizeDivisibleBy() * tensor));
    }
  }

  @Override
  public Costs costs(ModelSpec model, int paddedVocabulary) {
    return GptCosts.of(config(model), model.moe(), paddedVocabulary);
  }

  @Override
  public GptModel model(ModelSpec model, int paddedVocabulary, int rows, ParameterSet parameters) {
    return new GptModel(
        config(model),
        paddedVocabulary,
        Moe.feedForward(model.layerShape(), model.moe()),
        parameters);
  }

  @Override
  public Task task(RunConfig run, WorldEnvironment environment) throws IOException {
    return new GptTask(run);
  }

  @Override
  public List<Class<? extends Record>> evaluationFlags() {
    return List.of(GptEvaluation.Options.class);
  }

  @Override
  public Evaluation evaluation(
      String directory, Checkpoint checkpoint, String gate, Flags.Parsed parsed, Device device)
      throws IOException {
    GptCheckpoint trained = GptCheckpoint.of(checkpoint, gate, device);
    try {
      return new GptEvaluation(directory, parsed.get(GptEvaluation.Options.class), trained);
    } catch (IOException | RuntimeException e) {
      trained.close();
      throw e;
    }
  }

  @Override
  public Upcycled upcycled(Checkpoint dense, Upcycling upcycling) {
    return UpcycledGpt.of(dense, upcycling);
  }

  @Override
  public TextModel text(Checkpoint checkpoint, String gate, Flags.Parsed parsed, Device device)
      throws IOException {
    return new GptText(GptCheckpoint.of(checkpoint, gate, device));
  }
}
