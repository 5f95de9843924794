package moe4j.optimizer;

import moe4j.kernels.optimizer.MomentType;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How the optimizer keeps its state.
 *
 * @param split whether a bf16 parameter has the 16 bits beside it that its fp32 master has and it
 *     lacks, and not the master
 * @param gradients the type of sums of gradients
 * @param expAvg how first moments are kept
 * @param expAvgSq how second moments are kept
 */
record StatePrecision(boolean split, ScalarType gradients, MomentType expAvg, MomentType expAvgSq) {

  /**
   * What a configuration says.
   *
   * @param bf16 whether parameters are
   * @param gpu whether kernels of ours update them, on a GPU
   */
  static StatePrecision of(OptimizerConfig config, boolean bf16, boolean gpu) {
    return new StatePrecision(
        bf16 && config.splitsMasters(gpu),
        config.sumsInBf16() ? ScalarType.BFloat16 : ScalarType.Float,
        MomentType.of(config.expAvgDtype()),
        MomentType.of(config.expAvgSqDtype()));
  }

  /**
   * What is kept, in words for a log.
   *
   * @param masters whether parameters are in bf16
   */
  String words(boolean masters) {
    String master =
        !masters
            ? ""
            : split
                ? "fp32 masters as 16 bits beside their bf16 parameters, "
                : "fp32 masters beside bf16 parameters, ";
    return "%sfirst moments in %s, second in %s".formatted(master, expAvg.word(), expAvgSq.word());
  }
}
