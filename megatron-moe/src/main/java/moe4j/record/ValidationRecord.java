package moe4j.record;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What one evaluation came to.
 *
 * @param iteration the step after which it was made
 * @param consumedSamples training sequences consumed by then
 * @param set on what and when
 * @param losses by Megatron's keys, in order
 */
public record ValidationRecord(
    int iteration, long consumedSamples, Set set, Map<String, Double> losses) {

  /** What an evaluation was made on. */
  public enum Set {
    /** The validation set, in the course of training. */
    TRAINING("iteration", ""),
    /** The validation set, at the end of a run whose last step no other evaluation followed. */
    VALIDATION("validation set", " on validation set"),
    /**
     * The validation set once more, as Megatron does at the end: on other samples than those that
     * gave the last step's validation loss, and on no curve.
     */
    AGAIN("validation set again", " on validation set"),
    /** The test set, at the end. */
    TEST("test set", " on test set");

    /** The name in {@code metrics.jsonl}. */
    final String key;

    /** The words after the iteration in the log line. */
    final String suffix;

    Set(String key, String suffix) {
      this.key = key;
      this.suffix = suffix;
    }
  }

  /** Copies the losses in their order. */
  public ValidationRecord {
    losses = Collections.unmodifiableMap(new LinkedHashMap<>(losses));
  }

  /** Perplexity as Megatron prints it: {@code exp(min(20, loss))}. */
  public static double perplexity(double loss) {
    return Math.exp(Math.min(20, loss));
  }

  /** Losses and perplexities by the keys of the log line. */
  public Map<String, Number> values() {
    Map<String, Number> values = new LinkedHashMap<>();
    losses.forEach(
        (key, loss) -> {
          values.put(key, loss);
          if (!key.equals(IterationRecord.BPC)) {
            values.put(key + " PPL", perplexity(loss));
          }
        });
    return values;
  }
}
