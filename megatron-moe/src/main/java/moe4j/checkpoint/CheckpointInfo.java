package moe4j.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Map;
import java.util.TreeMap;

/**
 * What a run knows of itself at a checkpoint, beside its tensors.
 *
 * @param iteration steps taken
 * @param consumedTrainSamples where the training data's sampler continues
 * @param consumedValidSamples where the validation data's sampler continues
 * @param skippedTrainSamples samples passed over without a step
 * @param seed the run's seed: what is drawn by counter needs no other state
 * @param randomState the state of each generator that draws in another way, as its own text
 * @param configuration the run's whole configuration
 * @param commit the source's commit, or a word in its place if it is not known
 * @param version moe4j's version
 * @param extra whatever else the loop wants back; empty where there is nothing
 */
public record CheckpointInfo(
    long iteration,
    long consumedTrainSamples,
    long consumedValidSamples,
    long skippedTrainSamples,
    long seed,
    Map<String, String> randomState,
    ObjectNode configuration,
    String commit,
    String version,
    ObjectNode extra) {
  /**
   * Copies what could change later.
   *
   * @throws IllegalArgumentException where a count is negative
   */
  public CheckpointInfo {
    if (iteration < 0
        || consumedTrainSamples < 0
        || consumedValidSamples < 0
        || skippedTrainSamples < 0) {
      throw new IllegalArgumentException(
          String.format(
              "iteration %d with %d, %d and %d samples consumed or skipped: none can be negative",
              iteration, consumedTrainSamples, consumedValidSamples, skippedTrainSamples));
    }
    randomState = new TreeMap<>(randomState);
    configuration = configuration.deepCopy();
    extra = extra.deepCopy();
  }
}
