package moe4j.data;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Pattern;

/**
 * Datasets and, maybe, how much of each.
 *
 * @param prefixes the datasets' paths without {@code .bin} and {@code .idx}
 * @param weights one a prefix, in any unit; null to take each dataset once
 */
public record Blend(List<String> prefixes, List<Double> weights) {
  private static final Pattern NUMBER =
      Pattern.compile("[+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?");

  /**
   * Reads a list as Megatron does: of an odd length, it is prefixes; of an even one, a weight
   * before each prefix, unless no weight is a number: then these are prefixes too.
   *
   * @param flag where the list comes from, for messages
   * @throws IllegalArgumentException if only some weights are numbers, or one is not positive
   */
  public static Blend parse(String flag, List<String> list) {
    List<String> words = list.stream().map(String::strip).toList();
    if (words.isEmpty()) {
      throw new IllegalArgumentException(flag + " names no dataset");
    }
    if (words.size() % 2 == 1) {
      return new Blend(words, null);
    }
    List<Double> weights = new ArrayList<>();
    List<String> prefixes = new ArrayList<>();
    for (int i = 0; i < words.size(); i += 2) {
      prefixes.add(words.get(i + 1));
      if (NUMBER.matcher(words.get(i)).matches()) {
        weights.add(Double.parseDouble(words.get(i)));
      }
    }
    if (weights.isEmpty()) {
      return new Blend(words, null);
    }
    if (weights.size() < prefixes.size()) {
      throw new IllegalArgumentException(
          "%s has an even number of words, but only %d of the %d that should be weights are numbers"
              .formatted(flag, weights.size(), prefixes.size()));
    }
    for (double weight : weights) {
      if (!(weight > 0) || Double.isInfinite(weight)) {
        throw new IllegalArgumentException(
            "%s has the weight %s, but weights are above 0".formatted(flag, weight));
      }
    }
    return new Blend(prefixes, weights);
  }

  /** The weights divided by their sum, bit for bit as NumPy computes it. */
  static double[] normalize(double[] weights) {
    double sum = pairwiseSum(weights, 0, weights.length);
    return Arrays.stream(weights).map(w -> w / sum).toArray();
  }

  /** NumPy's order of summation: up to 128 numbers in eight strands, more by halves. */
  private static double pairwiseSum(double[] a, int from, int n) {
    if (n > 128) {
      int half = n / 2 - n / 2 % 8;
      return pairwiseSum(a, from, half) + pairwiseSum(a, from + half, n - half);
    }
    int strands = n - n % 8;
    double sum = 0;
    if (n >= 8) {
      double[] r = Arrays.copyOfRange(a, from, from + 8);
      for (int i = 8; i < strands; i++) {
        r[i % 8] += a[from + i];
      }
      sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    }
    for (int i = strands; i < n; i++) {
      sum += a[from + i];
    }
    return sum;
  }
}
