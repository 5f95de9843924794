package moe4j.optimizer;

import java.util.List;
import moe4j.kernels.optimizer.ReferenceAdamW;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Late updates in libtorch's operations.
 *
 * @param which the numbers of the updated states
 * @param scalars what the reference keeps from a step to its updates
 */
record LateReference(
    ReferenceAdamW reference, StepGradients gradients, List<Integer> which, Tensor scalars)
    implements LateUpdates.Work {
  /** Has a step leave out these slots. */
  static LateReference of(
      ReferenceAdamW reference, List<Integer> slots, StepGradients gradients, List<Integer> which) {
    Tensor scalars = Scopes.keep(() -> Tensors.zeros(ScalarType.Float, reference.device(), 2));
    reference.later(slots, scalars);
    return new LateReference(reference, gradients, which, scalars);
  }

  @Override
  public void update(int number, int blocks) {
    Scopes.run(
        () -> {
          try (NoGradGuard guard = new NoGradGuard()) {
            Tensor gradient = gradients.all().get(which.get(number));
            reference.updateLate(number, gradient);
            if (gradients.kept()) {
              gradient.zero_();
            }
          }
        });
  }

  @Override
  public void end() {}

  @Override
  public void close() {
    scalars.close();
  }
}
