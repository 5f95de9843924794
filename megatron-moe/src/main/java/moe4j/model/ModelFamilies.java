package moe4j.model;

import java.util.List;
import java.util.Map;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** The kinds of models there are: moe4j's own and those that the class path adds. */
public final class ModelFamilies {
  /** A name is typed, stands in checkpoints and is part of the names of commands. */
  private static final String NAME = "[a-z][a-z0-9_-]*";

  private ModelFamilies() {}

  /**
   * All of them, by name.
   *
   * @throws IllegalStateException where one that the class path adds cannot be made, or has no name
   *     of its own: one sentence that names its class
   */
  public static List<ModelFamily> all() {
    Map<String, ModelFamily> families = new TreeMap<>();
    try {
      for (ModelFamily family : ServiceLoader.load(ModelFamily.class)) {
        add(family, families);
      }
    } catch (ServiceConfigurationError e) {
      String cause = e.getCause() == null ? "" : " (%s)".formatted(e.getCause());
      throw new IllegalStateException(
          "a kind of model on the class path cannot be used: %s%s".formatted(e.getMessage(), cause),
          e);
    }
    return List.copyOf(families.values());
  }

  private static void add(ModelFamily family, Map<String, ModelFamily> families) {
    String name = family.name();
    if (name == null || !name.matches(NAME)) {
      throw new IllegalStateException(
          "%s calls its kind of model '%s': a name begins with a small letter and has small letters, digits, - and _"
              .formatted(family.getClass().getName(), name));
    }
    ModelFamily other = families.putIfAbsent(name, family);
    if (other != null) {
      throw new IllegalStateException(
          "%s and %s both call their kind of model '%s': one of them has to leave the class path or take another name"
              .formatted(other.getClass().getName(), family.getClass().getName(), name));
    }
  }

  /**
   * The family of a name.
   *
   * @throws IllegalArgumentException for an unknown name, in a sentence that lists the known ones
   */
  public static ModelFamily named(String name) {
    return all().stream()
        .filter(family -> family.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "there is no kind of model '%s': there are %s, and those that MOE4J_CLASSPATH adds"
                        .formatted(
                            name,
                            all().stream()
                                .map(ModelFamily::name)
                                .collect(Collectors.joining(", ")))));
  }
}
