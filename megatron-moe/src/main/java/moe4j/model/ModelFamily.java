package moe4j.model;

import java.io.IOException;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Stream;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.CheckpointConfig;
import moe4j.config.Faults;
import moe4j.config.Flags;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.cost.Costs;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.ParallelConfig;
import moe4j.parallel.WorldEnvironment;
import moe4j.transformer.LayerShape;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;

/**
 * A kind of model, and all that the rest of moe4j asks of one: its flags, what they allow, what the
 * model costs, the model itself, its data, and the words of its log. Training, checkpoints, reports
 * and {@code plan} know models by this interface alone.
 *
 * <p>A family of one's own implements it in a class with a public constructor without arguments and
 * names that class in {@code META-INF/services/moe4j.model.ModelFamily}; {@link ModelFamilies}
 * finds it.
 */
public interface ModelFamily {
  /** What {@code --model} and checkpoints call it, such as {@code gpt}. */
  String name();

  /** What sentences call it, such as {@code GPT}. */
  String title();

  /** The record of the flags that say what the model is. */
  Class<? extends Record> modelFlags();

  /** The record of the flags that say what its data are. */
  Class<? extends Record> dataFlags();

  /**
   * The records of all flags of a pretraining command: the model's, the experts' and the data's,
   * and those that all runs have.
   */
  default List<Class<? extends Record>> flagRecords() {
    return List.of(
        modelFlags(),
        MoeConfig.class,
        OptimizerConfig.class,
        TrainingConfig.class,
        dataFlags(),
        CheckpointConfig.class,
        LoggingConfig.class,
        ParallelConfig.class);
  }

  /** All flags of a pretraining command. */
  default Flags flags() {
    return flags(List.of());
  }

  /** The same behind a command's own flags. */
  default Flags flags(List<Class<? extends Record>> own) {
    return Flags.of(Stream.of(own, flagRecords()).flatMap(List::stream).toList());
  }

  /** The records of those flags that stand for others, such as for an experiment's. */
  default List<Class<? extends Record>> presetFlags() {
    return List.of();
  }

  /**
   * A command line in full: with the flags that one of {@link #presetFlags} stands for, in front of
   * those that are typed.
   *
   * @param say told in a sentence each what of them gives way to what is typed
   */
  default String[] expand(String[] args, Consumer<String> say) {
    return args;
  }

  /**
   * A run of so many processes from its parsed flags.
   *
   * @param parsed what {@link #flags} gave of a command line
   * @throws IllegalArgumentException where it cannot be, in one sentence
   */
  default RunConfig run(Flags.Parsed parsed, int processes) {
    Faults faults = new Faults();
    TrainingConfig typed = parsed.get(TrainingConfig.class);
    TrainingConfig training = faults.made(() -> Divisions.batch(parsed, processes), typed);
    RunConfig run =
        faults.made(
            () ->
                new RunConfig(
                    new ModelSpec(this, parsed.get(modelFlags()), parsed.get(MoeConfig.class)),
                    parsed.get(OptimizerConfig.class),
                    training,
                    parsed.get(dataFlags()),
                    parsed.get(CheckpointConfig.class),
                    parsed.get(LoggingConfig.class),
                    parsed.get(ParallelConfig.class)),
            null);
    faults.refuse();
    return run;
  }

  /**
   * Checks as much of a run as can be where some of its records were refused by themselves and are
   * null, so that one answer tells what is wrong with the others, too.
   *
   * @throws IllegalArgumentException a sentence for each fault
   */
  default void checkPart(Flags.Parsed parsed, int processes) {
    Faults faults = new Faults();
    ParallelConfig parallel = parsed.get(ParallelConfig.class);
    OptimizerConfig optimizer = parsed.get(OptimizerConfig.class);
    TrainingConfig training = parsed.get(TrainingConfig.class);
    if (parallel != null && training != null) {
      faults.none(() -> Divisions.batch(parsed, processes));
    } else if (parallel != null) {
      faults.none(() -> parallel.layout(processes));
    }
    if (optimizer != null && training != null) {
      faults.none(() -> RunConfig.check(optimizer, training));
    }
    faults.refuse();
  }

  /**
   * Checks a run against what lies on this machine, before its processes join: such as whether
   * there is a run to go on with.
   *
   * @param again whether the launcher has started the processes again
   * @throws IllegalArgumentException in one sentence
   * @throws IOException where that cannot be read
   */
  default void checkStart(RunConfig run, boolean again) throws IOException {}

  /** What sentences call the command's flags and a step of training. */
  default RunWords words() {
    return RunWords.megatron();
  }

  /**
   * Arguments of the model's flags in which a checkpoint may differ from the model that loads it,
   * by Megatron's way of writing them ({@code hidden_dropout}).
   */
  default Set<String> mayDiffer(Record flags) {
    return Set.of();
  }

  /** What layers and experts need to know of the model. */
  LayerShape layerShape(Record flags);

  /** The flag that gives the number of layers: messages name it. */
  default String layersFlag() {
    return "--num-layers";
  }

  /** Tokens of a sample. */
  int sequenceLength(Record flags);

  /** Rows of the embedding for a vocabulary of so many tokens. */
  default int paddedVocabulary(Record flags, int vocabulary) {
    return vocabulary;
  }

  /** Whether the model reads the tokens' positions in a batch, and not 0, 1, 2 ... of each row. */
  default boolean readsPositions(Record data) {
    return false;
  }

  /** Whether the model reads which document a token is of. */
  default boolean readsDocuments(Record data) {
    return false;
  }

  /**
   * The parameter whose first dimension is the padded vocabulary, by which a checkpoint of another
   * one is refused in words; null where the family has its own way.
   */
  default String vocabularyParameter() {
    return null;
  }

  /**
   * Checks flags of model and experts against each other.
   *
   * @throws IllegalArgumentException in one sentence
   */
  default void check(ModelSpec model) {
    if (model.moeLayers() > 0) {
      model.moe().expertHiddenSize(model.layerShape());
    }
  }

  /**
   * Checks whether the model and its batches can be divided as the flags ask, as far as that does
   * not depend on the number of processes.
   *
   * @throws IllegalArgumentException with the arithmetic, in one sentence
   */
  default void checkDivision(ModelSpec model, TrainingConfig training, ParallelConfig parallel) {
    // Whatever the vocabulary is: that is checked where it is known.
    Costs costs = costs(model, 1);
    String whole = costs.limits().wholeMatrices();
    if (whole != null && parallel.tensorModelParallelSize() > 1) {
      throw new IllegalArgumentException(
          "--tensor-model-parallel-size %d: %s"
              .formatted(parallel.tensorModelParallelSize(), whole));
    }
    Divisions.check(costs.divisible(), parallel);
    Divisions.checkExperts(model, parallel);
  }

  /** The same of the padded vocabulary, which the tokenizer decides. */
  default void checkVocabulary(ModelSpec model, int padded, ParallelConfig parallel) {}

  /**
   * What the model costs: asked for its FLOPs and its active parameters, and by {@code plan}.
   *
   * @param paddedVocabulary rows of the embedding
   */
  Costs costs(ModelSpec model, int paddedVocabulary);

  /**
   * Makes the model with its initial weights.
   *
   * @param paddedVocabulary rows of the embedding
   * @param rows samples of a rank's micro-batch
   * @param parameters an empty set, which takes the model's parameters
   */
  LanguageModel model(ModelSpec model, int paddedVocabulary, int rows, ParameterSet parameters);

  /**
   * What one of a run's processes trains: data, model, words.
   *
   * @throws IOException where the tokenizer or the corpus cannot be read
   */
  Task task(RunConfig run, WorldEnvironment environment) throws IOException;

  /** The run that is timed where {@code bench model} is asked for a run. */
  default RunConfig benchRun(RunConfig run) {
    return run;
  }

  /** What one of its processes trains then: the same without what takes longer than the steps. */
  default Task benchTask(RunConfig run, WorldEnvironment environment) throws IOException {
    return task(run, environment);
  }

  /** Whether a trained model is the best that its run kept, and not the latest. */
  default boolean usesBest() {
    return false;
  }

  /** The records of the flags by which {@code evaluate} takes the family's checkpoints. */
  default List<Class<? extends Record>> evaluationFlags() {
    return List.of();
  }

  /**
   * A checkpoint's model on held-out data.
   *
   * @param directory what the checkpoint is called in what is said
   * @param gate the command line's {@code --balance-strategy}, or null: a class of one's own that
   *     the checkpoint may name
   * @param parsed what {@link #evaluationFlags} were given
   * @param device where to compute
   * @throws IllegalArgumentException where it cannot be, in one sentence
   * @throws IOException where checkpoint or data cannot be read
   */
  default Evaluation evaluation(
      String directory, Checkpoint checkpoint, String gate, Flags.Parsed parsed, Device device)
      throws IOException {
    throw new IllegalArgumentException(
        "checkpoint %s is a %s's, and that kind of model has no evaluation of its own"
            .formatted(checkpoint.directory(), title()));
  }

  /**
   * A dense checkpoint's model as one with experts that computes the same.
   *
   * @param upcycling the experts' flags, checked
   * @throws IllegalArgumentException where it cannot be, in one sentence
   */
  default Upcycled upcycled(Checkpoint dense, Upcycling upcycling) {
    throw new IllegalArgumentException(
        "checkpoint %s is a %s's, and that kind of model is not upcycled: with --num-experts it has experts from its first step"
            .formatted(dense.directory(), title()));
  }

  /** The records of the flags by which {@code generate} takes the family's checkpoints. */
  default List<Class<? extends Record>> textFlags() {
    return List.of();
  }

  /**
   * A checkpoint's model as one that writes text.
   *
   * @param gate as for an evaluation
   * @param parsed what {@link #textFlags} were given
   * @throws IllegalArgumentException where it cannot be, in one sentence
   * @throws IOException where checkpoint or tokenizer cannot be read
   */
  default TextModel text(Checkpoint checkpoint, String gate, Flags.Parsed parsed, Device device)
      throws IOException {
    throw new IllegalArgumentException(
        "checkpoint %s is a %s's, and that kind of model writes no text"
            .formatted(checkpoint.directory(), title()));
  }
}
