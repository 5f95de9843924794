package moe4j.data;

import java.util.OptionalLong;

/**
 * How many samples each part must have at least; empty for what one epoch gives.
 *
 * @param train for the whole run
 * @param valid for all evaluations of the run together: each takes new samples
 * @param test for the one at the end
 */
public record SampleCounts(OptionalLong train, OptionalLong valid, OptionalLong test) {
  /** The count of one part. */
  public OptionalLong of(Part part) {
    return switch (part) {
      case TRAIN -> train;
      case VALID -> valid;
      case TEST -> test;
    };
  }
}
