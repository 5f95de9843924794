package moe4j.kernels.bench;

import java.util.List;
import moe4j.kernels.activation.ActivationBench;
import moe4j.kernels.attention.AttentionBench;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.dropout.DropoutBench;
import moe4j.kernels.experts.ExpertsBench;
import moe4j.kernels.loss.LossBench;
import moe4j.kernels.norm.NormBench;
import moe4j.kernels.optimizer.OptimizerBench;
import moe4j.kernels.product.ProductBench;

/** The list of all topics' benches. */
public final class KernelBenches {
  private KernelBenches() {}

  /** All topics, in the order in which they are timed. */
  public static List<KernelBench> all() {
    return List.of(
        new NormBench(),
        new ActivationBench(),
        new DropoutBench(),
        new AttentionBench(),
        new ExpertsBench(),
        new LossBench(),
        new OptimizerBench(),
        new ProductBench());
  }
}
