package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import moe4j.kernels.optimizer.FusedAdamW.Slot;
import moe4j.tensor.Scopes;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A step of AdamW in libtorch's operations: what {@link FusedAdamW} is compared with, and what
 * updates where that does not compute. State that is all fp32 is updated in few calls; other state
 * goes to fp32 and back, one slot after the other.
 */
public final class ReferenceAdamW {
  private final List<Slot> slots;
  private final double beta1;
  private final double beta2;
  private final double epsilon;
  private final double clipGrad;

  /** The numbers of the slots that are all fp32, by their weight decay. */
  private final Map<Double, List<Integer>> plain = new LinkedHashMap<>();

  private final List<Integer> coded = new ArrayList<>();

  /**
   * The optimizer of some tensors.
   *
   * @param clipGrad what the gradients' norm is clipped to; 0 clips nothing
   * @throws IllegalArgumentException where moments on a GPU are rounded by draws: those of this
   *     class are the host's, which a captured graph would repeat
   */
  public ReferenceAdamW(
      List<Slot> slots, double beta1, double beta2, double epsilon, double clipGrad) {
    this.slots = List.copyOf(slots);
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
    this.clipGrad = clipGrad;
    for (int i = 0; i < slots.size(); i++) {
      Slot slot = slots.get(i);
      if (slot.isLow() && slot.parameter().is_cuda()) {
        throw new IllegalArgumentException(
            "On a GPU moments in %s and %s need moe4j's kernels, which are turned off."
                .formatted(slot.expAvg().type().word(), slot.expAvgSq().type().word()));
      }
      if (slot.isLow() || isRest(slot)) {
        coded.add(i);
      } else {
        plain.computeIfAbsent(slot.weightDecay(), d -> new ArrayList<>()).add(i);
      }
    }
  }

  private static boolean isRest(Slot slot) {
    return Tensors.dtype(slot.master()) == ScalarType.Short;
  }

  /**
   * Takes a step, as {@link FusedAdamW#step(Tensor, Tensor, Tensor, Tensor)} does. It may change
   * the gradients.
   *
   * @param gradients one for each slot, fp32 or bf16
   * @param rates fp32 [2]: the learning rate if the last step was taken, and if it was skipped
   * @param step fp32, a scalar: the steps taken, counted on
   * @param norm fp32, a scalar: the L2 norm of all gradients
   * @param foundInf fp32, a scalar: 1 where the last step was skipped, and then where this one was
   */
  public void step(
      List<Tensor> gradients, Tensor rates, Tensor step, Tensor norm, Tensor foundInf) {
    try (NoGradGuard guard = new NoGradGuard()) {
      Tensor rate = torch.where(foundInf.gt(new Scalar(0)), rates.select(0, 1), rates.select(0, 0));
      foundInf.copy_(norm.isfinite().logical_not());
      step.add_(foundInf.neg().add_(new Scalar(1.0)));
      // Megatron's coefficient, clip / (norm + 1e-6) where that is below 1, as a divisor.
      Tensor scale =
          clipGrad == 0
              ? torch.ones_like(norm)
              : norm.add(new Scalar(1e-6)).div(new Scalar(clipGrad)).clamp_min(new Scalar(1.0));
      Scalars scalars = new Scalars(step, rate, scale, foundInf);
      plain.forEach((decay, numbers) -> updatePlain(numbers, decay, gradients, scalars));
      // What draws asks for the step's number; masters in two pieces alone ask a GPU nothing.
      boolean draws = coded.stream().anyMatch(i -> slots.get(i).isLow());
      long number = draws ? (long) Tensors.item(step) : 0;
      for (int i : coded) {
        Scopes.run(() -> updateCoded(slots.get(i), gradients.get(i), scalars, number));
      }
    }
  }

  private record Scalars(Tensor step, Tensor rate, Tensor scale, Tensor foundInf) {}

  private void updatePlain(
      List<Integer> numbers, double decay, List<Tensor> gradients, Scalars scalars) {
    List<Slot> some = numbers.stream().map(slots::get).toList();
    adamw(
        some.stream().map(Slot::master).toList(),
        numbers.stream().map(i -> gradients.get(i).to(ScalarType.Float)).toList(),
        some.stream().map(s -> s.expAvg().values()).toList(),
        some.stream().map(s -> s.expAvgSq().values()).toList(),
        decay,
        scalars);
    List<Slot> apart =
        some.stream().filter(s -> Tensors.dtype(s.parameter()) != ScalarType.Float).toList();
    if (!apart.isEmpty()) {
      TensorLists.copy(
          apart.stream().map(Slot::parameter).toList(), apart.stream().map(Slot::master).toList());
    }
  }

  private void updateCoded(Slot slot, Tensor gradient, Scalars scalars, long step) {
    Tensor master =
        isRest(slot) ? SplitMaster.join(slot.parameter(), slot.master()) : slot.master();
    Tensor expAvg = slot.expAvg().read();
    Tensor expAvgSq = slot.expAvgSq().read();
    adamw(
        List.of(master),
        List.of(gradient.to(ScalarType.Float)),
        List.of(expAvg),
        List.of(expAvgSq),
        slot.weightDecay(),
        scalars);
    // A step that is skipped writes what was read, which changes no bit.
    slot.expAvg().write(expAvg, slot.draws(), step);
    slot.expAvgSq().write(expAvgSq, slot.draws(), step);
    if (isRest(slot)) {
      SplitMaster.split(master, slot.parameter(), slot.master());
    } else if (Tensors.dtype(slot.parameter()) != ScalarType.Float) {
      slot.parameter().copy_(master);
    }
  }

  private void adamw(
      List<Tensor> masters,
      List<Tensor> gradients,
      List<Tensor> first,
      List<Tensor> second,
      double decay,
      Scalars scalars) {
    TensorLists.adamw(
        masters,
        gradients,
        first,
        second,
        scalars.step,
        scalars.rate,
        beta1,
        beta2,
        decay,
        epsilon,
        scalars.scale,
        scalars.foundInf);
  }
}
