package moe4j.kernels.optimizer;

import java.util.List;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What steps that are checked or timed read and write beside the slots, as {@link FusedAdamW#step}
 * has it: fp32, on the slots' device.
 *
 * @param rates [2], the learning rate if the last step was taken, and if it was skipped
 * @param step a scalar, the steps taken
 * @param norm a scalar, the gradients' L2 norm
 * @param foundInf a scalar, 1 where the last step was skipped
 */
record StepScalars(Tensor rates, Tensor step, Tensor norm, Tensor foundInf) {
  /** Those of a first step. */
  static StepScalars on(Device device, double rate, double rateAfterSkipped) {
    float[] rates = {(float) rate, (float) rateAfterSkipped};
    return new StepScalars(
        Tensors.of(rates).to(device, ScalarType.Float),
        Tensors.zeros(ScalarType.Float, device),
        Tensors.zeros(ScalarType.Float, device),
        Tensors.zeros(ScalarType.Float, device));
  }

  /** Takes a step with the gradients that the optimizer is bound to. */
  void step(FusedAdamW optimizer) {
    optimizer.step(rates, step, norm, foundInf);
  }

  /** Takes the same step in libtorch's operations, the norm's among them. */
  void step(ReferenceAdamW optimizer, List<Tensor> gradients) {
    norm.copy_(TensorLists.norm(gradients));
    optimizer.step(gradients, rates, step, norm, foundInf);
  }
}
