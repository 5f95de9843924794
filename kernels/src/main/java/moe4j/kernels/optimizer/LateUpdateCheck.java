package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.cuda.Kernels;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Steps of AdamW that leave some updates for later have the bits of steps that do not. */
public final class LateUpdateCheck implements KernelCheck {
  private static final ScalarType F = ScalarType.Float;
  private static final ScalarType B = ScalarType.BFloat16;
  private static final int STEPS = 4;
  private static final int SKIPPED = 2;

  private static final List<AdamWCase.Kind> KINDS =
      List.of(
          new AdamWCase.Kind(1000, 0, B, true, F),
          new AdamWCase.Kind(33_000, 0, B, false, B),
          new AdamWCase.Kind(65_543, 3, F, false, B),
          new AdamWCase.Kind(40_000, 0, F, false, F),
          new AdamWCase.Kind(262_144, 0, B, true, B));

  /** Of these tensors all but two, and in another order. */
  private static final List<Integer> LATE = List.of(4, 1, 2);

  private static final List<AdamWCase.Types> TYPES =
      List.of(
          new AdamWCase.Types(MomentType.FP32, MomentType.FP32),
          new AdamWCase.Types(MomentType.BF16, MomentType.FP8));

  /** The tensors of one of both ways, and its scalars. */
  private record Side(
      List<AdamWCase> cases, Tensor rates, Tensor step, Tensor norm, Tensor foundInf) {
    static Side of(Comparison on, List<AdamWCase> cases) {
      return new Side(
          cases,
          Tensors.of(new float[] {1e-2f, 3e-3f}).to(on.device(), F),
          Tensors.zeros(F, on.device()),
          Tensors.zeros(F, on.device()),
          Tensors.zeros(F, on.device()));
    }

    List<FusedAdamW.Slot> slots() {
      return cases.stream().map(c -> c.slot).toList();
    }

    /** What a step of the reference may change. */
    List<Tensor> gradients() {
      List<Tensor> gradients = new ArrayList<>();
      cases.forEach(c -> gradients.add(c.gradient.clone()));
      return gradients;
    }
  }

  @Override
  public String name() {
    return "adamw, late";
  }

  @Override
  public void run(Comparison on) {
    try (NoGradGuard guard = new NoGradGuard()) {
      boolean fused = Kernels.take(Tensors.zeros(F, on.device()));
      for (AdamWCase.Types types : TYPES) {
        run(on, types, fused);
      }
    }
  }

  private static void run(Comparison on, AdamWCase.Types types, boolean fused) {
    Side once = Side.of(on, cases(on, types));
    Side late = Side.of(on, cases(on, types));
    for (int i = 0; i < KINDS.size(); i++) {
      late.slots().get(i).parameter().copy_(once.slots().get(i).parameter());
      late.slots().get(i).master().copy_(once.slots().get(i).master());
    }
    String what = "adamw, late, %s: ".formatted(types);
    if (fused) {
      kernels(on, what, once, late);
    } else {
      reference(on, what, once, late);
    }
    for (Side side : List.of(once, late)) {
      side.slots().forEach(slot -> slot.expAvg().close());
      side.slots().forEach(slot -> slot.expAvgSq().close());
    }
  }

  private static List<AdamWCase> cases(Comparison on, AdamWCase.Types types) {
    List<AdamWCase> cases = new ArrayList<>();
    for (AdamWCase.Kind kind : KINDS) {
      cases.add(new AdamWCase(on, kind, types, cases.size()));
    }
    return cases;
  }

  private static void draw(Comparison on, int step, Side once, Side late) {
    for (int i = 0; i < KINDS.size(); i++) {
      AdamWCase drawn = once.cases.get(i);
      drawn.draw(on, false, step == SKIPPED && i == 0);
      late.cases.get(i).gradient = drawn.place(on.device(), drawn.kind.gradient(), drawn.gradient);
    }
  }

  private static void kernels(Comparison on, String what, Side once, Side late) {
    double clip = 1;
    try (FusedAdamW all =
            new FusedAdamW(
                once.slots(), AdamWCheck.BETA1, AdamWCheck.BETA2, AdamWCheck.EPSILON, clip);
        FusedAdamW some =
            new FusedAdamW(
                late.slots(), AdamWCheck.BETA1, AdamWCheck.BETA2, AdamWCheck.EPSILON, clip)) {
      some.later(LATE);
      for (int step = 0; step < STEPS; step++) {
        draw(on, step, once, late);
        all.bind(once.cases.stream().map(c -> c.gradient).toList(), true);
        some.bind(late.cases.stream().map(c -> c.gradient).toList(), true);
        all.step(once.rates, once.step, once.norm, once.foundInf);
        some.step(late.rates, late.step, late.norm, late.foundInf);
        if (step != SKIPPED) {
          Tensor waiting = late.cases.get(LATE.get(0)).gradient;
          on.holds(what + "a gradient stays until then", Tensors.item(waiting.abs().max()) > 0);
        }
        // By as many blocks as there are chunks and by fewer; the second time nothing is left.
        for (int round = 0; round < 2; round++) {
          for (int number = 0; number < LATE.size(); number++) {
            some.updateLate(number, 3 * ((number + step) % 2));
          }
          some.endLate();
        }
        same(on, what, once, late);
      }
    }
  }

  private static void reference(Comparison on, String what, Side once, Side late) {
    ReferenceAdamW all =
        new ReferenceAdamW(once.slots(), AdamWCheck.BETA1, AdamWCheck.BETA2, AdamWCheck.EPSILON, 1);
    ReferenceAdamW some =
        new ReferenceAdamW(late.slots(), AdamWCheck.BETA1, AdamWCheck.BETA2, AdamWCheck.EPSILON, 1);
    some.later(LATE, Tensors.zeros(F, on.device(), 2));
    for (int step = 0; step < STEPS; step++) {
      draw(on, step, once, late);
      List<Tensor> gradients = late.gradients();
      for (Side side : List.of(once, late)) {
        side.norm.copy_(TensorLists.norm(gradients));
      }
      all.step(once.gradients(), once.rates, once.step, once.norm, once.foundInf);
      some.step(gradients, late.rates, late.step, late.norm, late.foundInf);
      late.rates.mul_(new Scalar(2));
      for (int number = 0; number < LATE.size(); number++) {
        some.updateLate(number, gradients.get(LATE.get(number)));
      }
      late.rates.mul_(new Scalar(0.5));
      same(on, what, once, late);
    }
  }

  private static void same(Comparison on, String what, Side once, Side late) {
    for (int i = 0; i < KINDS.size(); i++) {
      List<Tensor> expected = once.cases.get(i).tensors();
      List<Tensor> actual = late.cases.get(i).tensors();
      for (int j = 0; j < expected.size(); j++) {
        on.same(what + "size " + KINDS.get(i).size(), actual.get(j), expected.get(j));
      }
    }
  }
}
