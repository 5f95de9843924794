package moe4j.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.product.GradientSum;
import moe4j.kernels.product.KnownSquares;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * One rank's gradients of a step: at the parameters, or, so that many small bf16 ones are not lost,
 * in fp32 sums.
 *
 * <p>On a GPU what several micro-batches are added to stays where it is: a captured graph knows
 * addresses. Sums begin with a step's first micro-batch where the loop says which one that is, and
 * are open to products from its forward on; where it does not, and for gradients that add up at the
 * parameters, the update sets to zero what stays.
 */
final class Gradients implements StepGradients {
  private final List<Tensor> parameters;
  private final boolean kept;

  /** One for each parameter, or none. */
  private final List<GradientSum> sums = new ArrayList<>();

  private boolean announced;
  private boolean open;
  private boolean begun;

  /**
   * @param parameters whose gradients they are
   * @param summed whether there are fp32 sums
   * @param kept whether what is added to stays from step to step
   */
  Gradients(List<Tensor> parameters, boolean summed, boolean kept) {
    this.parameters = parameters;
    this.kept = kept;
    if (summed) {
      parameters.forEach(p -> sums.add(new GradientSum(p)));
    }
    if (kept) {
      try (NoGradGuard guard = new NoGradGuard()) {
        Scopes.run(() -> sums.forEach(GradientSum::setZero));
      }
    }
  }

  private boolean summed() {
    return !sums.isEmpty();
  }

  @Override
  public boolean zeroedByUpdate() {
    return kept && !(announced && summed());
  }

  @Override
  public boolean firstDiffers() {
    return summed();
  }

  @Override
  public void beforeForward(boolean first) {
    announced = true;
    open = true;
    begun = false;
    sums.forEach(sum -> sum.open(first));
  }

  @Override
  public void beforeBackward(boolean last) {
    begun = true;
    sums.forEach(GradientSum::begin);
  }

  @Override
  public void reduce() {}

  @Override
  public void accumulate() {
    if (announced && !open) {
      throw new IllegalStateException(
          "A micro-batch came without beforeForward, and others of this optimizer with it:"
              + " whether it is a step's first is not known.");
    }
    if (open && !begun) {
      throw new IllegalStateException(
          "A micro-batch came with beforeForward, and without beforeBackward: gradients of"
              + " parameters that products add up by themselves are lost.");
    }
    if (!summed()) {
      open = false;
      return;
    }
    try (NoGradGuard guard = new NoGradGuard()) {
      GradientSum.add(sums, atParameters());
      // Only now: grad() is a view of the parameter's own handle, and is reset with it.
      reset();
    }
  }

  /** The gradient of each parameter after the backward; null for one that got no gradient. */
  private List<Tensor> atParameters() {
    List<Tensor> gradients = new ArrayList<>();
    for (Tensor parameter : parameters) {
      Tensor gradient = parameter.grad();
      gradients.add(gradient.defined() ? gradient : null);
    }
    return gradients;
  }

  @Override
  public List<Tensor> orNull() {
    if (!summed()) {
      return atParameters();
    }
    List<Tensor> gradients = new ArrayList<>();
    for (GradientSum sum : sums) {
      gradients.add(sum.isEmpty() ? null : sum.values());
    }
    return gradients;
  }

  @Override
  public List<Tensor> squares() {
    List<Tensor> squares = new ArrayList<>();
    for (GradientSum sum : sums) {
      squares.add(sum.squares());
    }
    if (!summed()) {
      for (Tensor parameter : parameters) {
        Tensor gradient = parameter.grad();
        squares.add(gradient.defined() ? KnownSquares.of(parameter, gradient) : null);
      }
    }
    return squares;
  }

  @Override
  public List<Tensor> all() {
    List<Tensor> gradients = orNull();
    for (int i = 0; i < gradients.size(); i++) {
      if (gradients.get(i) == null) {
        gradients.set(i, torch.zeros_like(parameters.get(i)));
      }
    }
    return gradients;
  }

  @Override
  public void forget() {
    if (kept) {
      return;
    }
    sums.forEach(GradientSum::forget);
    reset();
  }

  @Override
  public void abandon() {
    if (summed() || !kept) {
      reset();
    }
  }

  private void reset() {
    open = false;
    sums.forEach(GradientSum::shut);
    Scopes.run(
        () ->
            parameters.forEach(
                p -> {
                  p.mutable_grad().reset();
                  KnownSquares.forget(p);
                }));
  }

  @Override
  public void close() {
    sums.forEach(GradientSum::close);
    reset();
  }
}
