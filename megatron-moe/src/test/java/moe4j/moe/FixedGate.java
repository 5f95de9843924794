package moe4j.moe;

import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * A user's gate that sends tokens where it was told.
 *
 * @param expert int64 [T, k], -1 for none
 * @param weight [T, k]
 * @param capacity rows of each expert if they are padded, or 0
 */
public record FixedGate(Tensor expert, Tensor weight, int experts, long capacity) implements Gate {
  @Override
  public Routing route(Tensor hidden, Pass pass) {
    return capacity > 0
        ? Routing.padded(expert, weight, experts, capacity)
        : Routing.ofChoices(expert, weight, experts);
  }
}
