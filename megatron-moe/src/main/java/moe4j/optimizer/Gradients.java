package moe4j.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.product.KnownSquares;
import moe4j.tensor.Scopes;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * One rank's gradients of a step: at the parameters, or, so that many small bf16 ones are not lost,
 * in fp32 sums.
 *
 * <p>On a GPU what several micro-batches are added to stays where it is and is set to zero by the
 * update: a captured graph knows addresses and no first micro-batch.
 */
final class Gradients implements StepGradients {
  private final List<Tensor> parameters;
  private final boolean summed;
  private final boolean kept;
  private final List<Tensor> sums = new ArrayList<>();

  /**
   * @param parameters whose gradients they are
   * @param summed whether there are fp32 sums
   * @param kept whether what is added to stays from step to step
   */
  Gradients(List<Tensor> parameters, boolean summed, boolean kept) {
    this.parameters = parameters;
    this.summed = summed;
    this.kept = kept;
    if (summed && kept) {
      parameters.forEach(p -> sums.add(Scopes.keep(() -> zeros(p))));
    }
  }

  private static Tensor zeros(Tensor like) {
    return Tensors.zeros(ScalarType.Float, like.device(), like.shape());
  }

  @Override
  public boolean kept() {
    return kept;
  }

  @Override
  public void beforeBackward(boolean last) {}

  @Override
  public void reduce() {}

  @Override
  public void accumulate() {
    if (!summed) {
      return;
    }
    try (NoGradGuard guard = new NoGradGuard()) {
      boolean first = sums.isEmpty();
      List<Tensor> targets = new ArrayList<>();
      List<Tensor> gradients = new ArrayList<>();
      for (int i = 0; i < parameters.size(); i++) {
        Tensor parameter = parameters.get(i);
        Tensor gradient = parameter.grad();
        boolean defined = gradient.defined();
        if (first) {
          sums.add(Scopes.keep(() -> defined ? gradient.to(ScalarType.Float) : zeros(parameter)));
        } else if (defined) {
          targets.add(sums.get(i));
          gradients.add(gradient);
        }
      }
      if (!targets.isEmpty()) {
        TensorLists.add(targets, gradients);
      }
      // Only now: grad() is a view of the parameter's own handle, and is reset with it.
      reset();
    }
  }

  @Override
  public List<Tensor> orNull() {
    if (summed) {
      return sums;
    }
    List<Tensor> gradients = new ArrayList<>();
    for (Tensor parameter : parameters) {
      Tensor gradient = parameter.grad();
      gradients.add(gradient.defined() ? gradient : null);
    }
    return gradients;
  }

  @Override
  public List<Tensor> squares() {
    if (summed) {
      return StepGradients.super.squares();
    }
    List<Tensor> squares = new ArrayList<>();
    for (Tensor parameter : parameters) {
      Tensor gradient = parameter.grad();
      squares.add(gradient.defined() ? KnownSquares.of(parameter, gradient) : null);
    }
    return squares;
  }

  @Override
  public List<Tensor> all() {
    List<Tensor> gradients = new ArrayList<>(orNull());
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
    sums.forEach(Tensor::close);
    sums.clear();
    reset();
  }

  @Override
  public void abandon() {
    if (summed || !kept) {
      reset();
    }
  }

  private void reset() {
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
    sums.forEach(Tensor::close);
    sums.clear();
    reset();
  }
}
