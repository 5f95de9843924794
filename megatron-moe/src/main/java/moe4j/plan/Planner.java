package moe4j.plan;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import moe4j.config.Ranges;

/** Tries the layouts of a model on a cluster. */
public final class Planner {
  private final PlannedModel model;
  private final Cluster cluster;
  private final Choices choices;

  /** A planner of one model. */
  public Planner(PlannedModel model, Cluster cluster, Choices choices) {
    this.model = model;
    this.cluster = cluster;
    this.choices = choices;
  }

  /**
   * The layouts to be tried.
   *
   * @param globalBatch sequences of a step
   * @param microBatches the sizes of micro-batches; none for all samples of a rank in one
   * @param sequenceParallel whether tensor parallelism comes with sequence parallelism
   * @param tp the only size to try, or null for all that divide the world
   * @param ep the same of experts
   * @param etp the same of each expert, or null for 1 and TP
   */
  public record Space(
      int globalBatch,
      List<Integer> microBatches,
      boolean sequenceParallel,
      Integer tp,
      Integer ep,
      Integer etp) {

    /** Refuses sizes below 1. */
    public Space {
      microBatches = List.copyOf(microBatches);
      Ranges.positive("global-batch-size", globalBatch);
      microBatches.forEach(size -> Ranges.positive("micro-batch-size", size));
      Ranges.positive("tensor-model-parallel-size", tp);
      Ranges.positive("expert-model-parallel-size", ep);
      Ranges.positive("expert-tensor-parallel-size", etp);
    }
  }

  /** A layout that the model can have, with its memory and time. */
  public record Candidate(PlannedLayout layout, MemoryEstimate memory, TimeEstimate time) {}

  /**
   * The layouts of a space, sorted.
   *
   * @param fitting layouts that fit into memory, the fastest first
   * @param tooLarge layouts that do not fit, the one that lacks the least memory first
   * @param impossible how many layouts the model cannot have
   * @param commonest the reason that most of these have; null where no layout was refused
   */
  public record Plan(
      List<Candidate> fitting, List<Candidate> tooLarge, int impossible, Reason commonest) {}

  /**
   * Why layouts are impossible.
   *
   * @param sentence what is wrong with one of them
   * @param layouts how many layouts are refused for this reason
   */
  public record Reason(String sentence, int layouts) {}

  /** The estimates of one layout that the model can have. */
  public Candidate estimate(PlannedLayout layout) {
    return new Candidate(
        layout,
        MemoryEstimate.of(model, layout, choices),
        TimeEstimate.of(model, layout, choices, cluster));
  }

  /** Tries all layouts of a space. */
  public Plan plan(Space space) {
    List<Candidate> fitting = new ArrayList<>();
    List<Candidate> tooLarge = new ArrayList<>();
    Map<String, List<String>> impossible = new HashMap<>();
    for (PlannedLayout layout : layouts(space)) {
      Optional<PlannedLayout.Refusal> refusal = layout.refusal(model);
      if (refusal.isPresent()) {
        impossible
            .computeIfAbsent(refusal.get().kind(), kind -> new ArrayList<>())
            .add(refusal.get().sentence());
        continue;
      }
      Candidate candidate = estimate(layout);
      boolean fits = candidate.memory().total() <= cluster.usable();
      (fits ? fitting : tooLarge).add(candidate);
    }
    fitting.sort(
        Comparator.comparingDouble((Candidate c) -> c.time().seconds())
            .thenComparingDouble(c -> c.memory().total()));
    tooLarge.sort(Comparator.comparingDouble(c -> c.memory().total()));
    Reason commonest =
        impossible.values().stream()
            .max(Comparator.comparingInt(List::size))
            .map(sentences -> new Reason(sentences.get(0), sentences.size()))
            .orElse(null);
    return new Plan(
        List.copyOf(fitting),
        List.copyOf(tooLarge),
        impossible.values().stream().mapToInt(List::size).sum(),
        commonest);
  }

  private List<PlannedLayout> layouts(Space space) {
    List<PlannedLayout> layouts = new ArrayList<>();
    int world = cluster.worldSize();
    boolean experts = model.hasExperts();
    for (int tp : sizes(space.tp(), world)) {
      for (int ep : experts ? sizes(space.ep(), world) : List.of(1)) {
        for (int etp : experts ? expertTensorSizes(space.etp(), tp) : List.of(1)) {
          int batch = space.globalBatch();
          List<Integer> one = List.of((int) Math.max(1, (long) batch * tp / world));
          for (int microBatch : space.microBatches().isEmpty() ? one : space.microBatches()) {
            boolean sequence = space.sequenceParallel() && tp > 1;
            layouts.add(new PlannedLayout(world, tp, sequence, ep, etp, false, microBatch, batch));
            // With one data-parallel rank there is nobody to share the optimizer's state with.
            if (tp < world) {
              layouts.add(new PlannedLayout(world, tp, sequence, ep, etp, true, microBatch, batch));
            }
          }
        }
      }
    }
    return layouts;
  }

  private static List<Integer> sizes(Integer only, int world) {
    return only != null
        ? List.of(only)
        : IntStream.rangeClosed(1, world).filter(n -> world % n == 0).boxed().toList();
  }

  private static List<Integer> expertTensorSizes(Integer only, int tp) {
    return only != null ? List.of(only) : tp == 1 ? List.of(1) : List.of(1, tp);
  }
}
