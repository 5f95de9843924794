package moe4j.training.run;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Ranks;
import moe4j.checkpoint.Section;
import moe4j.model.ModelState;
import moe4j.model.RunConfig;
import moe4j.model.RunNotes;
import moe4j.model.TrainState;
import moe4j.transformer.ParameterSet;

/**
 * {@code --keep-best}: the weights of the lowest validation loss so far, in {@code SAVE/best}, and
 * that loss with them, so that a run taken up again knows it.
 */
public final class BestModel {
  /** The directory in {@code --save}. */
  public static final String DIRECTORY = "best";

  private static final String LOSS = "validation_loss";

  /** What has to hold before anything is saved. */
  public interface Condition {
    void check() throws IOException;
  }

  private final RunConfig config;
  private final Ranks ranks;
  private final Condition condition;
  private final CheckpointStore store;
  private final ParameterSet parameters;
  private final Map<String, String> facts;
  private double loss = Double.POSITIVE_INFINITY;

  /**
   * What a run keeps.
   *
   * @param from where the run stands: a best model from later steps, which a run now takes anew, is
   *     no measure
   * @param facts what the checkpoint tells whoever uses the model, by name
   * @param condition asked before anything is saved
   */
  public BestModel(
      RunConfig config,
      Ranks ranks,
      ParameterSet parameters,
      Map<String, String> facts,
      TrainState from,
      Condition condition,
      Consumer<String> warnings)
      throws IOException {
    this.config = config;
    this.ranks = ranks;
    this.condition = condition;
    this.store = new CheckpointStore(Path.of(config.checkpoint().save(), DIRECTORY), 1, ranks);
    this.parameters = parameters;
    this.facts = facts;
    if (from.iteration() > 0) {
      Optional<Checkpoint> found = store.loadLatest(EnumSet.of(Section.MODEL), warnings);
      if (found.isPresent()) {
        try (Checkpoint checkpoint = found.get()) {
          if (checkpoint.info().iteration() <= from.iteration()) {
            loss = checkpoint.info().extra().path(LOSS).asDouble(loss);
          }
        }
      }
    }
  }

  /** The lowest loss so far; infinite before the first evaluation. */
  double loss() {
    return loss;
  }

  /**
   * Keeps the weights, where the loss is lower than all before.
   *
   * @return the directory, or null where it is not
   */
  public String offer(TrainState state, double validationLoss) throws IOException {
    boolean gone = loss < Double.POSITIVE_INFINITY && !isKept();
    if (!(validationLoss < loss) && !(gone && Double.isFinite(validationLoss))) {
      return null;
    }
    condition.check();
    loss = validationLoss;
    ObjectNode extra = JsonNodeFactory.instance.objectNode().put(LOSS, loss);
    RunNotes.FACTS.put(facts, extra);
    return RunCheckpoints.save(config, store, state, parameters, List.of(), extra);
  }

  /** Whether the weights of the lowest loss are still there: a directory can be removed. */
  private boolean isKept() throws IOException {
    boolean first = ranks.rank() == 0;
    byte[] own = {(byte) (first && store.iterations().isEmpty() ? 0 : 1)};
    return (ranks.size() == 1 ? own : ranks.exchange(own).get(0))[0] == 1;
  }

  /**
   * Puts the kept weights into the model; without any it stays as it is.
   *
   * @return the step they are of, or -1
   */
  public long restore(Consumer<String> warnings) throws IOException {
    if (loss == Double.POSITIVE_INFINITY) {
      // What is there is another run's, or of steps that this one has taken anew.
      return -1;
    }
    Optional<Checkpoint> found = store.loadLatest(EnumSet.of(Section.MODEL), warnings);
    if (found.isEmpty()) {
      return -1;
    }
    try (Checkpoint checkpoint = found.get()) {
      ModelState.loadModel(checkpoint, parameters);
      return checkpoint.info().iteration();
    }
  }
}
