package moe4j.moe.gate;

import java.io.File;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.security.CodeSource;
import java.util.List;
import moe4j.moe.MoeConfig;
import moe4j.transformer.LayerShape;
import moe4j.transformer.ParameterScope;

/** The gates by the names that {@code --balance-strategy} knows them by. */
public final class Gates {
  private static final List<String> NAMES =
      List.of("naive", "noisy", "gshard", "switch", "swipe", "expert_choice");

  /** Those of them that are even by their loss. */
  private static final List<String> BY_LOSS = List.of("noisy", "gshard", "switch");

  /** Those that are even without one. */
  private static final List<String> BY_THEMSELVES = List.of("swipe", "expert_choice");

  private Gates() {}

  /** The gate that a model's flags ask for. */
  public static Gate create(LayerShape model, MoeConfig moe, int layer, ParameterScope parameters) {
    Gate.Shape shape =
        new Gate.Shape(
            layer,
            model.hiddenSize(),
            moe.numExperts(),
            moe.moeRouterTopk(),
            model.initMethodStd(),
            moe.balanceLossWeight() / Math.max(1, moe.moeLayerCount(model.layers())));
    String strategy = moe.balanceStrategy();
    if (strategy == null) {
      return new TopKRouter(shape, moe.router(), moe.capacity(), parameters);
    }
    return switch (strategy) {
      case "naive" -> new NaiveGate(shape, parameters);
      case "noisy" -> new NoisyGate(shape, parameters);
      case "gshard" -> new GShardGate(shape, moe.quota(), parameters);
      case "switch" -> new SwitchGate(shape, moe.quota(), parameters);
      case "swipe" -> new SwipeGate(shape, parameters);
      case "expert_choice" -> new ExpertChoiceGate(shape, expertChoiceFactor(moe), parameters);
      default -> factory(strategy).create(shape, parameters);
    };
  }

  private static double expertChoiceFactor(MoeConfig moe) {
    return moe.moeExpertCapacityFactor() == null ? 1 : moe.moeExpertCapacityFactor();
  }

  /** Whether a strategy is known to have no loss. */
  public static boolean isWithoutLoss(String strategy) {
    return strategy.equals("naive") || BY_THEMSELVES.contains(strategy);
  }

  /** Whether a strategy evens the load; of a user's own nothing is known, so that it does. */
  public static boolean isBalanced(String strategy, boolean weighted) {
    return BY_THEMSELVES.contains(strategy)
        || (BY_LOSS.contains(strategy) && weighted)
        || !NAMES.contains(strategy);
  }

  /**
   * Checks that there is such a gate, for so many experts a token.
   *
   * @throws IllegalArgumentException in one sentence
   */
  public static void check(String strategy, int topk) {
    if (!NAMES.contains(strategy)) {
      factory(strategy);
    }
    int only = strategy.equals("gshard") ? 2 : strategy.equals("switch") ? 1 : topk;
    if (topk != only) {
      throw new IllegalArgumentException(
          "--balance-strategy %s needs --top-k %d, not %d".formatted(strategy, only, topk));
    }
  }

  /**
   * Whether a checkpoint may name this gate: one of ours, the one that this command line names, or
   * a class that the user has put into {@code MOE4J_CLASSPATH}.
   *
   * @param classPath what {@code MOE4J_CLASSPATH} holds, or null
   */
  public static boolean isAllowed(String saved, String typed, String classPath) {
    if (saved == null || NAMES.contains(saved) || saved.equals(typed)) {
      return true;
    }
    try {
      CodeSource source = load(saved).getProtectionDomain().getCodeSource();
      return source != null
          && classPath != null
          && holds(classPath, Path.of(source.getLocation().toURI()).toRealPath());
    } catch (ClassNotFoundException | URISyntaxException | IOException e) {
      // Whatever cannot be found lies in none of the user's places.
      return false;
    }
  }

  /** Whether a class path has this jar or directory; {@code libs/*} stands for all jars there. */
  private static boolean holds(String classPath, Path place) {
    for (String entry : classPath.split(File.pathSeparator)) {
      boolean all = entry.endsWith("*");
      Path path = Path.of(all ? entry.substring(0, entry.length() - 1) : entry);
      try {
        if (!entry.isEmpty() && path.toRealPath().equals(all ? place.getParent() : place)) {
          return true;
        }
      } catch (IOException e) {
        // An entry that does not exist holds nothing.
      }
    }
    return false;
  }

  /** Without running a line of it: it may be anything. */
  private static Class<?> load(String name) throws ClassNotFoundException {
    return Class.forName(name, false, Thread.currentThread().getContextClassLoader());
  }

  private static Gate.Factory factory(String name) {
    try {
      Class<?> type = load(name);
      if (!Gate.Factory.class.isAssignableFrom(type)) {
        throw new IllegalArgumentException(
            "--balance-strategy %s is a class that does not implement %s"
                .formatted(name, Gate.Factory.class.getName()));
      }
      return (Gate.Factory) type.getConstructor().newInstance();
    } catch (ClassNotFoundException e) {
      throw new IllegalArgumentException(
          "--balance-strategy takes %s or the name of a class on the class path, not '%s'"
              .formatted(String.join(", ", NAMES), name),
          e);
    } catch (ReflectiveOperationException e) {
      throw new IllegalArgumentException(
          "--balance-strategy %s: the class has no public constructor without arguments, or that fails"
              .formatted(name),
          e);
    }
  }
}
