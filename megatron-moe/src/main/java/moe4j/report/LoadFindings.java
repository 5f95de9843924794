package moe4j.report;

import static moe4j.record.PythonFormat.fixed;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import moe4j.moe.gate.Gates;
import moe4j.record.ExpertLoad;
import moe4j.record.PythonFormat;
import moe4j.record.RunHistory;
import moe4j.record.RunHistory.LoadPoint;

/**
 * What is wrong with the experts' load at a run's end, in sentences. The last quarter of the points
 * is added up, so that the chance of few tokens does not read as imbalance.
 */
final class LoadFindings {
  /** A coefficient of variation above this is out of balance. */
  private static final double MOST_CV = 0.3;

  /** An expert below this share of the mean load starves. */
  private static final double LEAST_LOAD = 0.1;

  /** An expert above this multiple of the mean load is overrun. */
  private static final double MOST_LOAD = 3;

  /** More dropped assignments than this share are too many. */
  private static final double MOST_DROPPED = 0.05;

  /** A router below this share of the greatest entropy has collapsed. */
  private static final double LEAST_ENTROPY = 0.05;

  /** A router above this share of the greatest entropy hardly chooses. */
  private static final double MOST_ENTROPY = 0.98;

  /** How many experts or layers a sentence names at most. */
  private static final int MOST_NAMED = 8;

  private LoadFindings() {}

  /**
   * Says how the load is.
   *
   * @param points of one run, at least one
   * @param balances whether a flag of the run balances the load
   * @return how it stands; then what is wrong, a layer each; then what to make of it
   */
  static List<String> of(List<LoadPoint> points, boolean balances) {
    int from = points.size() * 3 / 4;
    List<ExpertLoad.Layer> layers =
        RunHistory.together(points.subList(from, points.size())).layers();
    List<String> wrong = new ArrayList<>();
    boolean uneven = false;
    for (ExpertLoad.Layer layer : layers) {
      List<String> found = uneven(layer);
      uneven |= !found.isEmpty();
      found.addAll(lost(layer));
      if (!found.isEmpty()) {
        wrong.add("Layer %s: %s.".formatted(layer.layer(), String.join("; ", found)));
      }
    }
    String steps = steps(points, from);
    List<String> sentences = new ArrayList<>();
    sentences.add(wrong.isEmpty() ? well(layers, steps) : badly(layers, wrong.size(), steps));
    sentences.addAll(wrong);
    if (uneven && !balances) {
      sentences.add(
          "No flag of this run balances the load: --moe-aux-loss-coeff 1e-2 adds a loss that does.");
    }
    undecided(layers).ifPresent(sentences::add);
    return sentences;
  }

  /** Whether a run's arguments ask for anything that balances the load. */
  static boolean balances(Map<String, Object> arguments) {
    if (arguments.get("balance_strategy") instanceof String strategy) {
      Object share = arguments.get("balance_loss_weight");
      boolean weighted = share instanceof Number n && n.doubleValue() > 0;
      // A gate of the user's own is taken to even the load: its class is not loaded for a report.
      return Gates.builtIn(strategy).map(gate -> gate.isBalanced(weighted)).orElse(true);
    }
    Object type = arguments.get("moe_router_load_balancing_type");
    String types = type == null ? "aux_loss" : PythonFormat.str(type);
    Object weight = arguments.get("moe_aux_loss_coeff");
    List<?> weights =
        weight instanceof List<?> list ? list : weight == null ? List.of() : List.of(weight);
    boolean weighted = weights.stream().anyMatch(w -> w instanceof Number n && n.doubleValue() > 0);
    return Boolean.TRUE.equals(arguments.get("moe_router_enable_expert_bias"))
        || (types.contains("aux_loss") ? weighted : !types.equals("none"));
  }

  private static List<String> uneven(ExpertLoad.Layer layer) {
    List<String> found = new ArrayList<>();
    int experts = layer.tokens().size();
    if (layer.maxOverMean() == 0) {
      found.add("no expert took a token");
      return found;
    }
    if (layer.cv() > MOST_CV) {
      found.add("the load's CV is " + fixed(layer.cv(), 2));
    }
    List<Integer> starved =
        IntStream.range(0, experts).filter(e -> layer.relative(e) < LEAST_LOAD).boxed().toList();
    if (!starved.isEmpty()) {
      found.add(
          (starved.size() == 1
                  ? "%s of %s experts takes less than a tenth of its share (%s)"
                  : "%s of %s experts take less than a tenth of their share (%s)")
              .formatted(starved.size(), experts, named(starved)));
    }
    List<Integer> overrun =
        IntStream.range(0, experts)
            .filter(e -> layer.relative(e) > MOST_LOAD)
            .boxed()
            .sorted(Comparator.comparing(layer::relative).reversed())
            .toList();
    String most = fixed(layer.maxOverMean(), 1);
    if (overrun.size() == 1) {
      found.add("expert %s takes %s times the mean".formatted(overrun.get(0), most));
    } else if (overrun.size() > 1) {
      found.add(
          "%s experts take more than 3 times the mean (%s), the fullest %s times"
              .formatted(overrun.size(), named(overrun), most));
    }
    return found;
  }

  private static List<String> lost(ExpertLoad.Layer layer) {
    List<String> found = new ArrayList<>();
    if (layer.droppedShare() > MOST_DROPPED) {
      found.add(fixed(layer.droppedShare() * 100, 1) + "% of the assignments are dropped");
    }
    if (entropyShare(layer) < LEAST_ENTROPY) {
      found.add(
          "the router has collapsed: its entropy is %s of at most %s nats"
              .formatted(
                  fixed(layer.figures().get(ExpertLoad.ROUTER_ENTROPY), 3),
                  fixed(Math.log(layer.tokens().size()), 3)));
    }
    return found;
  }

  /** The router's entropy over that of an even choice; NaN where it is not known. */
  private static double entropyShare(ExpertLoad.Layer layer) {
    double entropy = layer.figures().getOrDefault(ExpertLoad.ROUTER_ENTROPY, Double.NaN);
    return layer.tokens().size() == 1 ? Double.NaN : entropy / Math.log(layer.tokens().size());
  }

  /** Names routers that choose almost evenly: the load is fine, but experts hardly differ. */
  private static Optional<String> undecided(List<ExpertLoad.Layer> layers) {
    List<Integer> undecided =
        layers.stream()
            .filter(layer -> entropyShare(layer) > MOST_ENTROPY)
            .map(ExpertLoad.Layer::layer)
            .toList();
    if (undecided.isEmpty()) {
      return Optional.empty();
    }
    String where = (undecided.size() == 1 ? "layer " : "layers ") + named(undecided);
    return Optional.of(
        ("The router hardly tells experts apart in %s: its entropy is above %s%% of an even"
                + " choice's.")
            .formatted(
                undecided.size() == layers.size() ? "any layer" : where,
                fixed(MOST_ENTROPY * 100, 0)));
  }

  private static String well(List<ExpertLoad.Layer> layers, String steps) {
    ExpertLoad.Layer worst = worst(layers);
    ExpertLoad.Layer least =
        layers.stream().min(Comparator.comparing(layer -> layer.relative(emptiest(layer)))).get();
    return ("%s the load is balanced: the worst CV is %s (layer %s), and the least that any expert"
            + " takes is %s of its share (expert %s of layer %s).")
        .formatted(
            steps,
            fixed(worst.cv(), 2),
            worst.layer(),
            fixed(least.relative(emptiest(least)), 2),
            emptiest(least),
            least.layer());
  }

  private static String badly(List<ExpertLoad.Layer> layers, int bad, String steps) {
    ExpertLoad.Layer worst = worst(layers);
    return "%s something is wrong in %s of %s layers; the worst CV is %s (layer %s)."
        .formatted(steps, bad, layers.size(), fixed(worst.cv(), 2), worst.layer());
  }

  private static ExpertLoad.Layer worst(List<ExpertLoad.Layer> layers) {
    return layers.stream().max(Comparator.comparing(ExpertLoad.Layer::cv)).get();
  }

  private static int emptiest(ExpertLoad.Layer layer) {
    return IntStream.range(0, layer.tokens().size())
        .boxed()
        .min(Comparator.comparing(layer::relative))
        .get();
  }

  /** The steps that the points from an index on are of. */
  private static String steps(List<LoadPoint> points, int from) {
    int last = points.get(points.size() - 1).at().step();
    return from == 0
        ? "Up to step %s".formatted(last)
        : "Over steps %s to %s".formatted(points.get(from - 1).at().step() + 1, last);
  }

  private static String named(List<Integer> numbers) {
    String first =
        numbers.stream().limit(MOST_NAMED).map(String::valueOf).collect(Collectors.joining(", "));
    int more = numbers.size() - MOST_NAMED;
    return more > 0 ? "%s and %s more".formatted(first, more) : first;
  }
}
