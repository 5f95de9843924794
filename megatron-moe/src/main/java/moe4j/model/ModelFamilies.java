package moe4j.model;

import java.util.Comparator;
import java.util.List;
import java.util.ServiceLoader;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/** The kinds of models there are: moe4j's own and those that the class path adds. */
public final class ModelFamilies {
  private ModelFamilies() {}

  /** All of them, by name. */
  public static List<ModelFamily> all() {
    return ServiceLoader.load(ModelFamily.class).stream()
        .map(Supplier::get)
        .sorted(Comparator.comparing(ModelFamily::name))
        .toList();
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
                    "there is no kind of model '%s': there are %s"
                        .formatted(
                            name,
                            all().stream()
                                .map(ModelFamily::name)
                                .collect(Collectors.joining(", ")))));
  }
}
