package moe4j.training.run;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import moe4j.parallel.World;

/** Checks that all processes were started with the same flags, and so train one model. */
public final class Agreement {
  /** What each process may decide for itself. */
  private static final Set<String> OWN = Set.of("num_threads");

  private Agreement() {}

  /**
   * Compares the arguments of all ranks; all call it.
   *
   * @throws IllegalArgumentException on every rank, where one has others than rank 0: one sentence
   *     that names it and them
   */
  public static void check(World world, Map<String, Object> arguments) {
    if (world.isAlone()) {
      return;
    }
    List<Map<String, String>> all = new ArrayList<>();
    for (byte[] text : world.exchange(text(arguments).getBytes(StandardCharsets.UTF_8))) {
      all.add(arguments(new String(text, StandardCharsets.UTF_8)));
    }
    for (int r = 1; r < all.size(); r++) {
      List<String> differing = differing(all.get(0), all.get(r));
      if (!differing.isEmpty()) {
        throw new IllegalArgumentException(
            "rank %d was started with other flags than rank 0: %s"
                .formatted(r, String.join(", ", differing)));
      }
    }
  }

  private static String text(Map<String, Object> arguments) {
    StringBuilder text = new StringBuilder();
    arguments.forEach(
        (name, value) -> {
          if (!OWN.contains(name)) {
            text.append(name).append('\t').append(String.valueOf(value).replace('\n', ' '));
            text.append('\n');
          }
        });
    return text.toString();
  }

  private static Map<String, String> arguments(String text) {
    Map<String, String> arguments = new TreeMap<>();
    text.lines().forEach(line -> arguments.put(line.split("\t")[0], line.split("\t", 2)[1]));
    return arguments;
  }

  private static List<String> differing(Map<String, String> first, Map<String, String> other) {
    Set<String> names = new TreeSet<>(first.keySet());
    names.addAll(other.keySet());
    List<String> differing = new ArrayList<>();
    for (String name : names) {
      String here = other.getOrDefault(name, "none");
      String there = first.getOrDefault(name, "none");
      if (!here.equals(there)) {
        differing.add("--%s %s and not %s".formatted(name.replace('_', '-'), here, there));
      }
    }
    return differing;
  }
}
