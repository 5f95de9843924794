package moe4j.config;

import static java.util.Comparator.comparingInt;

import java.util.Collection;
import java.util.Optional;

/** The known word nearest to what was typed. */
public final class Nearest {
  private Nearest() {}

  /**
   * The nearest of some words by Levenshtein's distance, if at most a third of the typed letters
   * differ; else a word that goes on where the typed one ends, or the longest that begins it.
   */
  public static Optional<String> to(String typed, Collection<String> known) {
    Optional<String> nearest = known.stream().min(comparingInt(word -> distance(typed, word)));
    int allowed = Math.max(1, typed.length() / 3);
    if (nearest.isPresent() && distance(typed, nearest.get()) <= allowed) {
      return nearest;
    }
    if (typed.length() < 3) {
      return Optional.empty();
    }
    return known.stream()
        .filter(word -> word.startsWith(typed))
        .min(comparingInt(String::length))
        .or(() -> known.stream().filter(typed::startsWith).max(comparingInt(String::length)));
  }

  private static int distance(String a, String b) {
    int[] row = new int[b.length() + 1];
    for (int j = 0; j <= b.length(); j++) {
      row[j] = j;
    }
    for (int i = 1; i <= a.length(); i++) {
      int diagonal = row[0];
      row[0] = i;
      for (int j = 1; j <= b.length(); j++) {
        int replace = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        diagonal = row[j];
        row[j] = Math.min(replace, 1 + Math.min(row[j], row[j - 1]));
      }
    }
    return row[b.length()];
  }
}
