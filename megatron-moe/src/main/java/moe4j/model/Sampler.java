package moe4j.model;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * Draws a token from logits.
 *
 * @param temperature divides the logits; 0 takes the most likely token
 * @param topK keeps the k most likely tokens; 0 keeps all
 * @param topP keeps the most likely tokens whose probabilities make up p (Holtzman et al. 2019); 1
 *     keeps all
 */
public record Sampler(double temperature, int topK, double topP) {

  public Sampler {
    if (!(temperature >= 0) || topK < 0 || !(topP > 0 && topP <= 1)) {
      throw new IllegalArgumentException(
          "--temperature %s, --top-k %d, --top-p %s: the first two are at least 0, the last is above 0 and at most 1"
              .formatted(temperature, topK, topP));
    }
  }

  /** One of the first {@code vocabulary} tokens: the padded rest is no token. */
  public int draw(float[] logits, int vocabulary, Random random) {
    Integer[] order = IntStream.range(0, vocabulary).boxed().toArray(Integer[]::new);
    Arrays.sort(order, (a, b) -> Float.compare(logits[b], logits[a]));
    if (temperature == 0) {
      return order[0];
    }
    int kept = topK == 0 ? vocabulary : Math.min(topK, vocabulary);
    double[] weights = new double[kept];
    double sum = 0;
    for (int i = 0; i < kept; i++) {
      weights[i] = Math.exp((logits[order[i]] - logits[order[0]]) / temperature);
      sum += weights[i];
    }
    double mass = 0;
    int last = 0;
    while (last < kept && mass < topP * sum) {
      mass += weights[last++];
    }
    double at = random.nextDouble() * mass;
    for (int i = 0; i < last; i++) {
      at -= weights[i];
      if (at < 0) {
        return order[i];
      }
    }
    return order[last - 1];
  }
}
