package moe4j.kernels.check;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/** A topic's cases, in the order in which they are timed. */
public final class BenchCases {
  private final List<BenchCase> cases = new ArrayList<>();

  /**
   * Adds an operation's forward.
   *
   * @param name what is computed
   * @param shape of what goes in
   * @param cost what a round of it moves and computes
   * @param operation makes the operation and its inputs
   */
  public void forward(
      String name,
      String shape,
      BenchCase.Cost cost,
      Function<BenchInputs, BenchCase.Operation> operation) {
    cases.add(new BenchCase(name, shape, cost, false, operation));
  }

  /**
   * Adds an operation's forward, and its forward with its backward.
   *
   * @param name what is computed
   * @param shape of what goes in
   * @param forward what a forward moves and computes
   * @param both what a forward with its backward does
   * @param operation makes the operation and its inputs
   */
  public void bothWays(
      String name,
      String shape,
      BenchCase.Cost forward,
      BenchCase.Cost both,
      Function<BenchInputs, BenchCase.Operation> operation) {
    forward(name + ", forward", shape, forward, operation);
    cases.add(new BenchCase(name + ", forward and backward", shape, both, true, operation));
  }

  /** All cases that were added. */
  public List<BenchCase> list() {
    return List.copyOf(cases);
  }
}
