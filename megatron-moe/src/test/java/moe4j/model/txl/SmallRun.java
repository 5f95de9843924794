package moe4j.model.txl;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import moe4j.model.Datasets;
import moe4j.model.LanguageModel;
import moe4j.model.LogLines;
import moe4j.model.Task;
import moe4j.model.TrainState;
import moe4j.model.WholeSets;
import moe4j.parallel.WorldEnvironment;
import moe4j.record.IterationRecord;
import moe4j.record.RunEnd;
import moe4j.tensor.Tensors;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import moe4j.training.step.TrainingListener;
import moe4j.transformer.ParameterSet;

/**
 * A run of pretrain-txl, looked at from within: with {@code --log-interval 1} every step's loss,
 * weights and memories.
 */
public final class SmallRun implements TrainingListener {
  /** A shape for a second or less, in segments of 6 behind memories of 9. */
  public static final String SHAPE =
      "--n-layer 2 --d-model 16 --n-head 2 --d-head 8 --d-inner 24 --tgt-len 6 --mem-len 9"
          + " --batch-size 4 --eval-tgt-len 4 --eval-batch-size 2 --lr 0.02 --init-std 0.1"
          + " --log-interval 1 --num-threads 1";

  /** Four experts in each layer, two for a symbol. */
  static final String EXPERTS =
      " --num-experts 4 --top-k 2 --moe-ffn-hidden-size 12 --balance-strategy naive"
          + " --add-expert-bias";

  /** The loss of each step, by its number from 1. */
  final Map<Integer, Double> losses = new TreeMap<>();

  /** The validation loss, by the step. */
  final Map<Integer, Double> validation = new TreeMap<>();

  /** Weights and memories behind the last step, by name. */
  final Map<String, float[]> weights = new TreeMap<>();

  final Map<String, float[]> memories = new TreeMap<>();
  final List<String> said = new ArrayList<>();
  Double test;
  RunEnd end;

  private final Consumer<SmallRun> eachStep;
  private TransformerXl model;

  private SmallRun(Consumer<SmallRun> eachStep) {
    this.eachStep = eachStep;
  }

  /** A run of one process, checked: words split at spaces, then others as they are. */
  public static TransformerXlRun parse(String words, Object... more) {
    List<String> line = new ArrayList<>(Arrays.asList(words.split(" ")));
    Arrays.stream(more).map(String::valueOf).forEach(line::add);
    return line(1, line.toArray(new String[0]));
  }

  /** A run of so many processes from its command line. */
  public static TransformerXlRun line(int processes, String... line) {
    TransformerXlFamily family = new TransformerXlFamily();
    String[] all = family.expand(line, said -> {});
    return TransformerXlRun.of(family.flags().parse(all).withoutPositional(), processes);
  }

  /** Makes a run. */
  static SmallRun of(TransformerXlRun run) {
    return of(run, each -> {});
  }

  /**
   * Makes a run.
   *
   * @param eachStep called behind each step; what it throws ends the run, and nothing is saved
   */
  static SmallRun of(TransformerXlRun run, Consumer<SmallRun> eachStep) {
    return Console.quietly(
        () -> {
          run.checkRestart(false);
          SmallRun small = new SmallRun(eachStep);
          TransformerXlTask task = new TransformerXlTask(run, WorldEnvironment.of(Map.of()));
          small.end =
              Pretraining.run(run.config(), small.watched(task), ShutdownSignal.install(), small)
                  .end();
          return small;
        });
  }

  /** The last step. */
  int last() {
    return losses.keySet().stream().max(Integer::compare).orElse(0);
  }

  private Task watched(TransformerXlTask task) {
    return new Task() {
      @Override
      public int vocabulary() {
        return task.vocabulary();
      }

      @Override
      public Datasets datasets() throws IOException {
        return task.datasets();
      }

      @Override
      public LanguageModel model(int paddedVocabulary, ParameterSet parameters) {
        model = task.model(paddedVocabulary, parameters);
        return model;
      }

      @Override
      public WholeSets wholeSets(LanguageModel trained) {
        return task.wholeSets(trained);
      }

      @Override
      public LogLines logLines() {
        return task.logLines();
      }

      @Override
      public Map<String, String> lasting() {
        return task.lasting();
      }

      @Override
      public Map<String, String> place() throws IOException {
        return task.place();
      }

      @Override
      public Map<String, String> facts() {
        return task.facts();
      }

      @Override
      public String flag(String argument) {
        return task.flag(argument);
      }
    };
  }

  @Override
  public void interval(Interval interval) {
    int step = interval.state().iteration();
    Double loss = interval.reading().losses().get(IterationRecord.LM_LOSS);
    losses.put(step, loss == null ? Double.NaN : loss);
    ParameterSet set = model.parameters();
    set.all().forEach(p -> weights.put(p.name(), Tensors.floats(p.tensor())));
    set.buffers().forEach(b -> memories.put(b.name(), Tensors.floats(b.tensor())));
    eachStep.accept(this);
  }

  @Override
  public void validation(Validation record) {
    if (record.part() == EvaluationPart.TEST) {
      test = record.loss();
    } else {
      validation.put(record.state().iteration(), record.loss());
    }
  }

  @Override
  public void saved(TrainState state, String directory) {}

  @Override
  public void say(String sentence) {
    said.add(sentence);
  }
}
