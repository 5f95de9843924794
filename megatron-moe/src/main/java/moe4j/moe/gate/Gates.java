package moe4j.moe.gate;

import java.io.File;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.security.CodeSource;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import moe4j.transformer.ParameterScope;

/**
 * The gates by the names that {@code --balance-strategy} knows them by. A gate is a file and a line
 * in {@link #ALL}: flags, upcycling, {@code plan}, help and tests ask its {@link GateSpec}.
 */
public final class Gates {
  private static final List<BuiltIn> ALL =
      List.of(
          new BuiltIn(NaiveGate.SPEC, (shape, room, scope) -> new NaiveGate(shape, scope)),
          new BuiltIn(NoisyGate.SPEC, (shape, room, scope) -> new NoisyGate(shape, scope)),
          new BuiltIn(
              GShardGate.SPEC, (shape, room, scope) -> new GShardGate(shape, room.quota(), scope)),
          new BuiltIn(
              SwitchGate.SPEC, (shape, room, scope) -> new SwitchGate(shape, room.quota(), scope)),
          new BuiltIn(SwipeGate.SPEC, (shape, room, scope) -> new SwipeGate(shape, scope)),
          new BuiltIn(QuantileGate.SPEC, (shape, room, scope) -> new QuantileGate(shape, scope)),
          new BuiltIn(
              ExpertChoiceGate.SPEC,
              (shape, room, scope) -> new ExpertChoiceGate(shape, room.factorOrOne(), scope)));

  private Gates() {}

  /** What {@code --help} says of each gate. */
  public static final class Help implements Supplier<String> {
    @Override
    public String get() {
      return ALL.stream()
          .map(gate -> " %s: %s".formatted(gate.spec().name(), gate.spec().description()))
          .collect(Collectors.joining());
    }
  }

  private record BuiltIn(GateSpec spec, Maker maker) {}

  private interface Maker {
    Gate create(Gate.Shape shape, Room room, ParameterScope parameters);
  }

  /** What moe4j's own gates are like, in the order in which help names them. */
  public static List<GateSpec> all() {
    return ALL.stream().map(BuiltIn::spec).toList();
  }

  /** Their names. */
  public static List<String> names() {
    return ALL.stream().map(gate -> gate.spec().name()).toList();
  }

  /**
   * What a gate of moe4j's own is like, or nothing for another name. No class is loaded, so that a
   * name may come from anywhere.
   */
  public static Optional<GateSpec> builtIn(String name) {
    return find(name).map(BuiltIn::spec);
  }

  private static Optional<BuiltIn> find(String name) {
    return ALL.stream().filter(gate -> gate.spec().name().equals(name)).findFirst();
  }

  /**
   * What a gate is like, one of moe4j's own or a user's, whose factory says so. To the user it goes
   * by the name that was typed.
   *
   * @throws IllegalArgumentException in one sentence where there is no such gate
   */
  public static GateSpec spec(String strategy) {
    return builtIn(strategy)
        .orElseGet(() -> told(strategy, "spec()", factory(strategy).spec()).renamed(strategy));
  }

  /**
   * Makes the gate of a layer.
   *
   * @param strategy {@code --balance-strategy}
   * @param room what is asked for of the experts' room
   * @param parameters the gate's scope
   */
  public static Gate create(
      String strategy, Gate.Shape shape, Room room, ParameterScope parameters) {
    Optional<BuiltIn> own = find(strategy);
    return own.isPresent()
        ? own.get().maker().create(shape, room, parameters)
        : told(strategy, "create(...)", factory(strategy).create(shape, room, parameters));
  }

  private static <T> T told(String strategy, String method, T value) {
    if (value == null) {
      throw new IllegalArgumentException(
          "--balance-strategy %s: the class's %s gives null".formatted(strategy, method));
    }
    return value;
  }

  /**
   * Whether a checkpoint may name this gate: one of ours, the one that this command line names, or
   * a class that the user has put into {@code MOE4J_CLASSPATH}.
   *
   * @param classPath what {@code MOE4J_CLASSPATH} holds, or null
   */
  public static boolean isAllowed(String saved, String typed, String classPath) {
    if (saved == null || builtIn(saved).isPresent() || saved.equals(typed)) {
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
              .formatted(String.join(", ", names()), name),
          e);
    } catch (IllegalAccessException e) {
      throw new IllegalArgumentException(
          "--balance-strategy %s: the class has to be public, and a module that it is in has to open its package"
              .formatted(name),
          e);
    } catch (ReflectiveOperationException | LinkageError e) {
      throw new IllegalArgumentException(
          "--balance-strategy %s: the class has no public constructor without arguments, or that fails"
              .formatted(name),
          e);
    }
  }
}
