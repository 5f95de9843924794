package moe4j.config;

import java.util.Collection;
import java.util.Optional;

/** The known word nearest to what was typed. */
public final class Nearest {
  private Nearest() {}

  /**
   * The nearest of some words by Levenshtein's distance, if it is near: at most a third of the
   * word's letters differ, or one of the two begins with the other.
   */
  public static Optional<String> to(String typed, Collection<String> known) {
    String best = null;
    int least = Integer.MAX_VALUE;
    for (String word : known) {
      int distance = distance(typed, word);
      if (typed.length() >= 3 && (word.startsWith(typed) || typed.startsWith(word))) {
        distance = Math.min(distance, 1);
      }
      if (distance < least) {
        least = distance;
        best = word;
      }
    }
    return least <= Math.max(1, typed.length() / 3) ? Optional.ofNullable(best) : Optional.empty();
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
