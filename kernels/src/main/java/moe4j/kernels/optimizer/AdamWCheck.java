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

/**
 * Steps of AdamW over tensors of many sizes and types, one of them with a gradient that is not
 * finite, against the formula in fp64: by {@link FusedAdamW} where that computes, by {@link
 * TensorLists} elsewhere.
 */
public final class AdamWCheck implements KernelCheck {
  static final double BETA1 = 0.9;
  static final double BETA2 = 0.95;
  static final double EPSILON = 1e-8;
  static final double[] RATES = {1e-2, 3e-3};
  private static final int STEPS = 5;
  private static final int SKIPPED = 2;

  private static final ScalarType F = ScalarType.Float;
  private static final ScalarType B = ScalarType.BFloat16;

  private static final List<AdamWCase.Kind> KINDS =
      List.of(
          new AdamWCase.Kind(1, 0, F, false, F),
          new AdamWCase.Kind(7, 0, B, false, F),
          new AdamWCase.Kind(8, 0, F, false, F),
          new AdamWCase.Kind(1000, 0, B, true, F),
          new AdamWCase.Kind(32_768, 0, F, false, F),
          new AdamWCase.Kind(32_769, 0, B, false, F),
          new AdamWCase.Kind(100_003, 1, B, true, F),
          new AdamWCase.Kind(5, 0, F, false, B),
          new AdamWCase.Kind(4096, 0, B, true, B),
          new AdamWCase.Kind(65_543, 3, F, false, B),
          new AdamWCase.Kind(40_000, 0, B, false, B),
          new AdamWCase.Kind(3_001, 0, B, true, B),
          new AdamWCase.Kind(262_144, 0, B, false, F),
          new AdamWCase.Kind(1_000_000, 0, B, true, B));

  /** The largest tensor where it is not the kernel that is checked. */
  private static final long REFERENCE_SIZE = 70_000;

  private static final AdamWCase.Types EXACT =
      new AdamWCase.Types(MomentType.FP32, MomentType.FP32);

  static final List<AdamWCase.Types> TYPES =
      List.of(
          EXACT,
          new AdamWCase.Types(MomentType.BF16, MomentType.BF16),
          new AdamWCase.Types(MomentType.FP8, MomentType.FP8),
          new AdamWCase.Types(MomentType.BF16, MomentType.FP32),
          new AdamWCase.Types(MomentType.FP8, MomentType.BF16));

  /** A way of giving the norm, and of what is left in the gradients. */
  private record Variant(
      String name, double clip, boolean zeroAfter, boolean ranks, boolean known) {}

  private static final List<Variant> VARIANTS =
      List.of(
          new Variant("clipped", 1.0, true, false, false),
          new Variant("not clipped", 0.0, false, false, false),
          // The norm in two calls, as where ranks have a part in it.
          new Variant("over ranks", 1.0, false, true, false),
          // Parts of it come from what computed the gradients.
          new Variant("squares known", 1.0, false, false, true),
          new Variant("over ranks, squares known", 1.0, true, true, true));

  private interface Way {
    void step(StepScalars scalars);
  }

  @Override
  public String name() {
    return "adamw";
  }

  @Override
  public void run(Comparison on) {
    try (NoGradGuard guard = new NoGradGuard()) {
      boolean fused = Kernels.take(Tensors.zeros(F, on.device()));
      for (AdamWCase.Types types : TYPES) {
        for (Variant variant : VARIANTS) {
          if (fused || (!variant.ranks && !variant.known)) {
            run(on, types, variant, fused);
          }
        }
        if (fused) {
          sameBits(on, types);
        }
      }
    }
  }

  private static void run(Comparison on, AdamWCase.Types types, Variant variant, boolean fused) {
    List<AdamWCase> states = new ArrayList<>();
    for (AdamWCase.Kind kind : KINDS) {
      if (fused || kind.size() <= REFERENCE_SIZE) {
        int number = states.size();
        states.add(new AdamWCase(on, kind, number % 4 == 0 ? EXACT : types, number));
      }
    }
    List<FusedAdamW.Slot> slots = states.stream().map(s -> s.slot).toList();
    String what = "adamw, %s, %s: ".formatted(types, variant.name);
    if (fused) {
      try (FusedAdamW optimizer = new FusedAdamW(slots, BETA1, BETA2, EPSILON, variant.clip)) {
        steps(on, what, states, variant, scalars -> fused(optimizer, states, variant, scalars));
      }
    } else {
      ReferenceAdamW optimizer = new ReferenceAdamW(slots, BETA1, BETA2, EPSILON, variant.clip);
      Variant kept = new Variant(variant.name, variant.clip, false, false, false);
      steps(on, what, states, kept, scalars -> reference(optimizer, states, scalars));
    }
    slots.forEach(FusedAdamW.Slot::closeMoments);
  }

  private static void fused(
      FusedAdamW optimizer, List<AdamWCase> states, Variant variant, StepScalars scalars) {
    List<Tensor> gradients = new ArrayList<>();
    List<Tensor> known = new ArrayList<>();
    for (int i = 0; i < states.size(); i++) {
      Tensor gradient = states.get(i).gradient;
      gradients.add(gradient);
      boolean told = variant.known && gradient != null && i % 3 != 1;
      known.add(told ? parts(gradient, 1 + 700 * (i % 2)) : null);
    }
    optimizer.bind(gradients, known, variant.zeroAfter);
    if (!variant.ranks) {
      scalars.step(optimizer);
      return;
    }
    // As if another rank counted all slots but the first few.
    int own = 5;
    Tensor squares = optimizer.squares(own);
    for (AdamWCase state : states.subList(own, states.size())) {
      squares.add_(state.exactGradient().square().sum().to(squares.device(), ScalarType.Double));
    }
    Tensor sum = squares.to(F);
    optimizer.step(sum, scalars.rates(), scalars.step(), scalars.norm(), scalars.foundInf());
  }

  /** A gradient's sum of squares in parts, of which all but one are even. */
  private static Tensor parts(Tensor gradient, int count) {
    Tensor parts = gradient.to(ScalarType.Double).square().sum().div(new Scalar(2.0 * count));
    Tensor all = parts.expand(count).to(F).contiguous();
    all.select(0, count - 1).mul_(new Scalar(count + 1.0));
    return all;
  }

  private static void reference(
      ReferenceAdamW optimizer, List<AdamWCase> states, StepScalars scalars) {
    List<Tensor> gradients = new ArrayList<>();
    for (AdamWCase s : states) {
      gradients.add(
          s.gradient == null ? s.slot.expAvg().read().mul(new Scalar(0)) : s.gradient.clone());
    }
    scalars.step(optimizer, gradients);
  }

  /**
   * A first step whose moments are products alone, so that the reference has the same bits before
   * it rounds them, and after it; and masters in two pieces are those in one.
   */
  private static void sameBits(Comparison on, AdamWCase.Types types) {
    List<AdamWCase> states = new ArrayList<>();
    for (AdamWCase.Kind kind : KINDS) {
      states.add(new AdamWCase(on, kind, types, states.size()));
    }
    AdamWCase last = states.get(states.size() - 1);
    AdamWCase.Kind whole = new AdamWCase.Kind(last.kind.size(), 0, B, false, B);
    AdamWCase twin = new AdamWCase(on, whole, types, states.size() - 1);
    twin.slot.parameter().copy_(last.slot.parameter());
    twin.slot.master().copy_(last.slot.parameter());
    states.add(twin);
    states.forEach(state -> state.draw(on, false, false));
    twin.gradient = last.gradient.clone();
    String what = "adamw, %s, the same bits: ".formatted(types);
    Variant variant = new Variant("", 0, false, false, false);
    List<FusedAdamW.Slot> slots = states.stream().map(s -> s.slot).toList();
    try (FusedAdamW optimizer = new FusedAdamW(slots, BETA1, BETA2, EPSILON, 0)) {
      StepScalars scalars = StepScalars.on(on.device(), RATES[0], RATES[1]);
      fused(optimizer, states, variant, scalars);
      for (AdamWCase state : states) {
        Tensor g = state.gradient.to(F);
        FusedAdamW.Slot slot = state.slot;
        String size = what + "size " + state.kind.size();
        rounded(on, size + " first moment", slot.expAvg(), slot, g.mul(new Scalar(1 - BETA1)));
        Tensor square = g.square().mul(new Scalar(1 - BETA2));
        rounded(on, size + " second moment", slot.expAvgSq(), slot, square);
      }
      for (int i = 0; i < STEPS; i++) {
        fused(optimizer, states, variant, scalars);
      }
    }
    on.same(what + "masters", last.master(), twin.master());
    Tensor parameter = last.slot.parameter().clone();
    SplitMaster.split(last.master(), parameter, last.slot.master().clone());
    on.same(what + "parameters", last.slot.parameter(), parameter);
    slots.forEach(FusedAdamW.Slot::closeMoments);
  }

  private static void rounded(
      Comparison on, String what, Moment moment, FusedAdamW.Slot slot, Tensor exact) {
    boolean square = moment == slot.expAvgSq();
    try (Moment expected = new Moment(moment.type(), square, exact.cpu())) {
      expected.write(exact.cpu(), slot.draws(), 1);
      on.same(what, moment.read(), expected.read());
    }
  }

  private static void steps(
      Comparison on, String what, List<AdamWCase> states, Variant variant, Way way) {
    double clip = variant.clip;
    StepScalars scalars = StepScalars.on(on.device(), RATES[0], RATES[1]);
    int taken = 0;
    for (int i = 0; i < STEPS; i++) {
      boolean infinite = i == SKIPPED;
      double rate = RATES[i == SKIPPED + 1 ? 1 : 0];
      double squares = 0;
      List<Tensor> before = new ArrayList<>();
      for (int j = 0; j < states.size(); j++) {
        AdamWCase state = states.get(j);
        // In one step each tensor is without a gradient.
        state.draw(on, !infinite && j % STEPS == i, infinite && j == 3);
        squares += Tensors.item(state.exactGradient().square().sum());
        if (infinite) {
          state.tensors().forEach(t -> before.add(t.clone()));
        }
      }
      double norm = Math.sqrt(squares);
      if (!infinite) {
        taken++;
        for (AdamWCase state : states) {
          state.update(rate, taken, clip == 0 ? 1 : Math.max(1, (norm + 1e-6) / clip));
        }
      }
      way.step(scalars);
      exactly(on, what + "step counter", scalars.step(), taken);
      exactly(on, what + "found inf", scalars.foundInf(), infinite ? 1 : 0);
      if (infinite) {
        exactly(on, what + "norm", scalars.norm(), norm);
        noTrace(on, what, states, before);
      } else {
        on.close(what + "norm", scalars.norm(), Tensors.full(norm, F, on.device()), 1e-5);
      }
      if (variant.zeroAfter) {
        zeroed(on, what, states);
      }
    }
    states.forEach(state -> compare(on, what, state));
  }

  private static void exactly(Comparison on, String what, Tensor actual, double expected) {
    on.same(what, actual, Tensors.full(expected, F, actual.device()));
  }

  private static void noTrace(
      Comparison on, String what, List<AdamWCase> states, List<Tensor> before) {
    int at = 0;
    for (AdamWCase state : states) {
      for (Tensor t : state.tensors()) {
        on.same(what + "skipped, size " + state.kind.size(), t, before.get(at++));
      }
    }
  }

  private static void zeroed(Comparison on, String what, List<AdamWCase> states) {
    for (AdamWCase state : states) {
      if (state.gradient != null) {
        on.same(
            what + "zeroed, size " + state.kind.size(),
            state.gradient,
            Tensors.zeros(state.kind.gradient(), on.device(), state.kind.size()));
      }
    }
  }

  /** Of the parameter what the steps have changed, which is small beside it. */
  private static void compare(Comparison on, String what, AdamWCase state) {
    FusedAdamW.Slot slot = state.slot;
    AdamWCase.Kind kind = state.kind;
    AdamWCase.Types types = state.types();
    String tensor =
        "%ssize %d %s %s "
            .formatted(
                what,
                kind.size(),
                kind.parameter(),
                kind.rest() ? "in two pieces" : kind.gradient());
    Tensor master = state.master().cpu().to(ScalarType.Double);
    Tensor expected = state.parameter.sub(state.start);
    on.close(tensor + "change", master.sub(state.start), expected, Math.max(types.bound(), 1e-4));
    if (kind.rest()) {
      // Half a unit in the last place, of eight bits.
      Tensor apart = slot.parameter().to(F).sub(state.master()).abs();
      Tensor most = state.master().abs().mul(new Scalar(0x1p-8));
      on.holds(tensor + "parameter", Tensors.item(apart.le(most).all()) == 1);
    } else {
      on.same(tensor + "parameter", slot.parameter(), slot.master().to(kind.parameter()));
    }
    moment(
        on,
        tensor + "first moment",
        slot.expAvg(),
        state.expAvg,
        AdamWCase.Types.bound(types.first()));
    moment(
        on,
        tensor + "second moment",
        slot.expAvgSq(),
        state.expAvgSq,
        AdamWCase.Types.bound(types.second()));
  }

  /** What draws have moved, they have moved up and down alike. */
  private static void moment(
      Comparison on, String what, Moment actual, Tensor expected, double bound) {
    on.close(what, actual.read(), expected, bound);
    if (actual.type() != MomentType.FP32 && expected.numel() > 10_000) {
      Tensor sum = actual.read().to(ScalarType.Double).abs().sum();
      on.close(what + ", its mean", sum, expected.abs().sum(), bound / 20);
    }
  }
}
