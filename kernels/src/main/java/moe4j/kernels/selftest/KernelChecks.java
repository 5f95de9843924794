package moe4j.kernels.selftest;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Device;

/** Every check there is. */
public final class KernelChecks {
  private KernelChecks() {}

  /** The checks for a device, in the order in which they are run. */
  public static List<KernelCheck> on(Device device) {
    List<KernelCheck> checks = new ArrayList<>();
    if (device.is_cuda()) {
      checks.add(new LoaderCheck());
      checks.add(new GraphCheck());
    }
    checks.addAll(all());
    return checks;
  }

  /** Those of kernels: on a CPU they check the references. */
  static List<KernelCheck> all() {
    return List.of(
        new ColumnSumCheck(),
        new NormCheck(),
        new ActivationCheck(),
        new DropoutCheck(),
        new QkvProjectionCheck(),
        new RelativeAttentionCheck(),
        new AdamWCheck(),
        new CrossEntropyCheck(),
        new RouterProjectionCheck(),
        new TopKCheck(),
        new RouteSortCheck(),
        new RowGatherCheck(),
        new GroupRowsCheck(),
        new WeightedActivationCheck(),
        new ReluDropoutCheck(),
        new GroupBiasCheck(),
        new GroupedMatmulCheck());
  }
}
