package moe4j.kernels.selftest;

import java.util.List;

/** Every check there is. */
public final class KernelChecks {
  private KernelChecks() {}

  /** The checks, in the order in which they are run. */
  public static List<KernelCheck> all() {
    return List.of(
        new ColumnSumCheck(),
        new NormCheck(),
        new ActivationCheck(),
        new DropoutCheck(),
        new AdamWCheck(),
        new CrossEntropyCheck(),
        new RouteSortCheck(),
        new RowGatherCheck(),
        new WeightedActivationCheck());
  }
}
