package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.cuda.Kernels;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
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
  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.95;
  private static final double EPSILON = 1e-8;
  private static final double[] RATES = {1e-2, 3e-3};
  private static final int STEPS = 5;
  private static final int SKIPPED = 2;

  /**
   * The size and the types of a tensor.
   *
   * @param offset elements before it in its memory: an odd one is aligned to nothing
   */
  private record Kind(
      long size, int offset, ScalarType parameter, ScalarType moments, ScalarType gradient) {}

  private static final ScalarType F = ScalarType.Float;
  private static final ScalarType B = ScalarType.BFloat16;

  /** What both ways of computing take. */
  private static final List<Kind> KINDS =
      List.of(
          new Kind(1, 0, F, F, F),
          new Kind(7, 0, B, F, F),
          new Kind(8, 0, F, F, F),
          new Kind(1000, 0, B, F, F),
          new Kind(32_768, 0, F, F, F),
          new Kind(32_769, 0, B, F, F),
          new Kind(100_003, 1, B, F, F),
          new Kind(262_144, 0, B, F, F));

  /** What only the kernel takes. */
  private static final List<Kind> FUSED =
      List.of(
          new Kind(5, 0, F, F, B),
          new Kind(4096, 0, B, F, B),
          new Kind(65_543, 3, F, F, B),
          new Kind(1_000_000, 0, B, F, B),
          new Kind(40_000, 0, B, B, B),
          new Kind(1_001, 0, F, B, F),
          new Kind(2_056, 0, F, B, B));

  /** A tensor's state under test and what it should be, fp64 on the CPU. */
  private static final class State {
    private final Kind kind;
    private final double decay;
    private final FusedAdamW.Slot slot;
    private final Tensor start;
    private final Tensor parameter;
    private final Tensor expAvg;
    private final Tensor expAvgSq;
    private Tensor gradient;

    State(Comparison on, Kind kind, double decay, boolean masterless) {
      this.kind = kind;
      this.decay = decay;
      this.start = on.normal(kind.parameter, kind.size);
      this.parameter = start.clone();
      this.expAvg = Tensors.zeros(ScalarType.Double, start.device(), kind.size);
      this.expAvgSq = expAvg.clone();
      Tensor given = place(on.device(), kind.parameter, start);
      this.slot =
          new FusedAdamW.Slot(
              given,
              kind.parameter == F || masterless ? given : place(on.device(), F, start),
              place(on.device(), kind.moments, expAvg),
              place(on.device(), kind.moments, expAvg),
              decay);
    }

    Tensor place(Device device, ScalarType dtype, Tensor values) {
      Tensor memory = Tensors.zeros(dtype, device, kind.offset + kind.size);
      Tensor placed = Tensors.slice(memory, 0, kind.offset, kind.offset + kind.size);
      placed.copy_(values);
      return placed;
    }

    /**
     * Another gradient; a null stands for no gradient. Its signs are the start's, so that neither
     * moments nor changes cancel out.
     */
    void draw(Comparison on, boolean none, boolean infinite) {
      Tensor values = on.normal(kind.gradient, kind.size).abs().mul(start.sign());
      gradient = none ? null : place(on.device(), kind.gradient, values);
      if (infinite) {
        gradient.select(0, kind.size - 1).fill_(new Scalar(Double.POSITIVE_INFINITY));
      }
    }

    Tensor exactGradient() {
      return gradient == null ? expAvg.mul(new Scalar(0)) : gradient.cpu().to(ScalarType.Double);
    }

    void update(double rate, int step, double scale) {
      Tensor g = exactGradient().div(new Scalar(scale));
      expAvg.mul_(new Scalar(BETA1)).add_(g.mul(new Scalar(1 - BETA1)));
      expAvgSq.mul_(new Scalar(BETA2)).add_(g.square().mul(new Scalar(1 - BETA2)));
      Tensor root = expAvgSq.div(new Scalar(1 - Math.pow(BETA2, step))).sqrt_();
      Tensor change = expAvg.div(root.add_(new Scalar(EPSILON)));
      parameter.mul_(new Scalar(1 - rate * decay));
      parameter.sub_(change.mul_(new Scalar(rate / (1 - Math.pow(BETA1, step)))));
    }

    List<Tensor> tensors() {
      return List.of(slot.parameter(), slot.master(), slot.expAvg(), slot.expAvgSq());
    }
  }

  /** The scalars of the steps, on the device. */
  private record Scalars(Tensor rates, Tensor step, Tensor norm, Tensor foundInf) {
    static Scalars on(Device device) {
      Tensor rates = Tensors.of(new float[] {(float) RATES[0], (float) RATES[1]}).to(device, F);
      return new Scalars(
          rates, Tensors.zeros(F, device), Tensors.zeros(F, device), Tensors.zeros(F, device));
    }
  }

  private interface Way {
    void step(Scalars scalars);
  }

  @Override
  public String name() {
    return "adamw";
  }

  @Override
  public void run(Comparison on) {
    try (NoGradGuard guard = new NoGradGuard()) {
      run(on, 1.0, true, false);
      run(on, 0.0, false, false);
      // The norm in two calls, as where ranks have a part in it.
      run(on, 1.0, false, true);
    }
  }

  private static void run(Comparison on, double clip, boolean zeroAfter, boolean ranks) {
    boolean fused = Kernels.take(Tensors.zeros(F, on.device()));
    List<State> states = new ArrayList<>();
    for (Kind kind : KINDS) {
      states.add(new State(on, kind, states.size() % 2 * 0.1, false));
    }
    for (Kind kind : fused ? FUSED : List.<Kind>of()) {
      states.add(new State(on, kind, states.size() % 2 * 0.1, false));
    }
    if (fused) {
      states.add(new State(on, new Kind(3_001, 0, B, F, B), 0.1, true));
    }
    String what = (ranks ? "adamw, over ranks" : clip == 0 ? "adamw" : "adamw, clipped") + ": ";
    if (fused) {
      try (FusedAdamW optimizer =
          new FusedAdamW(states.stream().map(s -> s.slot).toList(), BETA1, BETA2, EPSILON, clip)) {
        steps(
            on,
            what,
            states,
            clip,
            zeroAfter,
            scalars -> fused(optimizer, states, zeroAfter, ranks, scalars));
      }
    } else {
      steps(on, what, states, clip, false, scalars -> reference(states, clip, scalars));
    }
  }

  private static void fused(
      FusedAdamW optimizer, List<State> states, boolean zeroAfter, boolean ranks, Scalars scalars) {
    List<Tensor> gradients = new ArrayList<>();
    states.forEach(s -> gradients.add(s.gradient));
    optimizer.bind(gradients, zeroAfter);
    if (!ranks) {
      optimizer.step(scalars.rates, scalars.step, scalars.norm, scalars.foundInf);
      return;
    }
    // As if another rank counted all slots but the first few.
    int own = 5;
    Tensor squares = optimizer.squares(own);
    for (State state : states.subList(own, states.size())) {
      squares.add_(state.exactGradient().square().sum().to(squares.device(), ScalarType.Double));
    }
    Tensor sum = squares.to(F);
    optimizer.step(sum, scalars.rates, scalars.step, scalars.norm, scalars.foundInf);
  }

  private static void reference(List<State> states, double clip, Scalars scalars) {
    List<Tensor> gradients = new ArrayList<>();
    for (State s : states) {
      gradients.add(s.gradient == null ? s.slot.expAvg().mul(new Scalar(0)) : s.gradient.clone());
    }
    int skipped = (int) Tensors.item(scalars.foundInf);
    scalars.norm.copy_(TensorLists.norm(gradients));
    scalars.foundInf.copy_(scalars.norm.isfinite().logical_not());
    scalars.step.add_(scalars.foundInf.neg().add_(new Scalar(1.0)));
    Tensor divisor = Tensors.full(1, F, scalars.norm.device());
    if (clip > 0) {
      divisor = scalars.norm.add(new Scalar(1e-6)).div(new Scalar(clip)).clamp_min(new Scalar(1.0));
    }
    for (int i = 0; i < states.size(); i++) {
      FusedAdamW.Slot slot = states.get(i).slot;
      TensorLists.adamw(
          List.of(slot.master()),
          List.of(gradients.get(i)),
          List.of(slot.expAvg()),
          List.of(slot.expAvgSq()),
          scalars.step,
          scalars.rates.select(0, skipped),
          BETA1,
          BETA2,
          slot.weightDecay(),
          EPSILON,
          divisor,
          scalars.foundInf);
    }
    TensorLists.copy(
        states.stream().map(s -> s.slot.parameter()).toList(),
        states.stream().map(s -> s.slot.master()).toList());
  }

  private static void steps(
      Comparison on, String what, List<State> states, double clip, boolean zeroAfter, Way way) {
    Scalars scalars = Scalars.on(on.device());
    int taken = 0;
    for (int i = 0; i < STEPS; i++) {
      boolean infinite = i == SKIPPED;
      double rate = RATES[i == SKIPPED + 1 ? 1 : 0];
      double squares = 0;
      List<Tensor> before = new ArrayList<>();
      for (int j = 0; j < states.size(); j++) {
        State state = states.get(j);
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
        for (State state : states) {
          state.update(rate, taken, clip == 0 ? 1 : Math.max(1, (norm + 1e-6) / clip));
        }
      }
      way.step(scalars);
      exactly(on, what + "step counter", scalars.step, taken);
      exactly(on, what + "found inf", scalars.foundInf, infinite ? 1 : 0);
      if (infinite) {
        exactly(on, what + "norm", scalars.norm, norm);
        noTrace(on, what, states, before);
      } else {
        on.close(what + "norm", scalars.norm, Tensors.full(norm, F, scalars.norm.device()), 1e-5);
      }
      if (zeroAfter) {
        zeroed(on, what, states);
      }
    }
    states.forEach(state -> compare(on, what, state));
  }

  private static void exactly(Comparison on, String what, Tensor actual, double expected) {
    on.same(what, actual, Tensors.full(expected, F, actual.device()));
  }

  private static void noTrace(Comparison on, String what, List<State> states, List<Tensor> before) {
    int at = 0;
    for (State state : states) {
      for (Tensor t : state.tensors()) {
        on.same(what + "skipped, size " + state.kind.size, t, before.get(at++));
      }
    }
  }

  private static void zeroed(Comparison on, String what, List<State> states) {
    for (State state : states) {
      if (state.gradient != null) {
        on.same(
            what + "zeroed, size " + state.kind.size,
            state.gradient,
            Tensors.zeros(state.kind.gradient, on.device(), state.kind.size));
      }
    }
  }

  /** Of the parameter what the steps have changed, which is small beside it. */
  private static void compare(Comparison on, String what, State state) {
    FusedAdamW.Slot slot = state.slot;
    Kind kind = state.kind;
    String tensor =
        "%ssize %d %s %s %s "
            .formatted(what, kind.size, kind.parameter, kind.moments, kind.gradient);
    double bound = kind.moments == B ? 1e-2 : 1e-5;
    boolean rounded = Tensors.dtype(slot.master()) == B;
    Tensor master = slot.master().cpu().to(ScalarType.Double);
    if (rounded) {
      on.close(tensor + "parameter", master, state.parameter, 1e-2);
    } else {
      Tensor expected = state.parameter.sub(state.start);
      on.close(tensor + "change", master.sub(state.start), expected, Math.max(bound, 1e-4));
      on.same(tensor + "parameter", slot.parameter(), slot.master().to(kind.parameter));
    }
    on.close(tensor + "first moment", slot.expAvg(), state.expAvg, bound);
    on.close(tensor + "second moment", slot.expAvgSq(), state.expAvgSq, bound);
  }
}
