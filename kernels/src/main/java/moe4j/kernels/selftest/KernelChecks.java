package moe4j.kernels.selftest;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.activation.ActivationCheck;
import moe4j.kernels.activation.ReluDropoutCheck;
import moe4j.kernels.attention.QkvProjectionCheck;
import moe4j.kernels.attention.RelativeAttentionCheck;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.dropout.DropoutCheck;
import moe4j.kernels.experts.GroupBiasCheck;
import moe4j.kernels.experts.GroupedMatmulCheck;
import moe4j.kernels.experts.GroupedProductsCheck;
import moe4j.kernels.experts.RouteSortCheck;
import moe4j.kernels.experts.RoutedMlpCheck;
import moe4j.kernels.experts.RouterProjectionCheck;
import moe4j.kernels.experts.RowGatherCheck;
import moe4j.kernels.experts.TokenRouterCheck;
import moe4j.kernels.experts.TopKCheck;
import moe4j.kernels.experts.WeightedActivationCheck;
import moe4j.kernels.loss.CrossEntropyCheck;
import moe4j.kernels.norm.NormCheck;
import moe4j.kernels.optimizer.AdamWCheck;
import moe4j.kernels.optimizer.AdamWUpdateCheck;
import moe4j.kernels.product.ColumnSumCheck;
import moe4j.kernels.product.GroupRowsCheck;
import org.bytedeco.pytorch.Device;

/** The list of all checks. */
public final class KernelChecks {
  private KernelChecks() {}

  /** The checks for a device, in the order in which they are run. */
  public static List<KernelCheck> on(Device device) {
    List<KernelCheck> checks = new ArrayList<>();
    if (device.is_cuda()) {
      checks.add(new LoaderCheck());
      checks.add(new GraphCheck());
      checks.add(new TensorMapCheck());
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
        new AdamWUpdateCheck(),
        new CrossEntropyCheck(),
        new RouterProjectionCheck(),
        new TopKCheck(),
        new RouteSortCheck(),
        new TokenRouterCheck(),
        new RowGatherCheck(),
        new GroupRowsCheck(),
        new WeightedActivationCheck(),
        new ReluDropoutCheck(),
        new GroupBiasCheck(),
        new GroupedMatmulCheck(),
        new GroupedProductsCheck(),
        new RoutedMlpCheck());
  }
}
