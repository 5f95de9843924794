package moe4j.optimizer;

import java.util.List;
import moe4j.kernels.optimizer.FusedAdamW;

/**
 * Late updates on a GPU.
 *
 * @param kernels whose slots they are
 */
record LateKernels(FusedAdamW kernels) implements LateUpdates.Work {
  /** Has a step leave out these slots. */
  static LateKernels of(FusedAdamW kernels, List<Integer> slots) {
    kernels.later(slots);
    return new LateKernels(kernels);
  }

  @Override
  public void update(int number, int blocks) {
    kernels.updateLate(number, blocks);
  }

  @Override
  public void end() {
    kernels.endLate();
  }
}
