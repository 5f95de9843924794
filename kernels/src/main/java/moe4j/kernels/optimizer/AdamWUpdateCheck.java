package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.cuda.Cuda;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Updates that stream tensors through shared memory, against those that do not: the same bits of
 * everything, over several steps, for all types. There are pieces enough that each place in a
 * block's shared memory is used several times.
 */
public final class AdamWUpdateCheck implements KernelCheck {
  private static final ScalarType F = ScalarType.Float;
  private static final ScalarType B = ScalarType.BFloat16;
  private static final int STEPS = 4;
  private static final int SKIPPED = 2;

  /** More pieces than this are never in a block's shared memory. */
  private static final int PLACES = 30;

  /** A prime number, so that no piece is another one's twin. */
  private static final int PERIOD = 65_537;

  private record Kind(ScalarType parameter, boolean rest, ScalarType gradient) {}

  private static final List<Kind> KINDS =
      List.of(
          new Kind(F, false, F),
          new Kind(B, false, B),
          new Kind(B, false, F),
          new Kind(B, true, B),
          new Kind(B, true, F));

  /**
   * The slots' sizes: less than a piece, a few with a rest, many with a rest, whole ones, and some
   * that begin at an odd element.
   */
  private static long[] sizes() {
    long piece = SlotTable.PIECE;
    long many = (long) Cuda.multiprocessors() * PLACES * 5 / 2;
    return new long[] {100, 5 * piece + 3, many * piece + 777, 3 * piece, 40 * piece};
  }

  @Override
  public String name() {
    return "adamw, streamed";
  }

  @Override
  public void run(Comparison on) {
    if (!on.device().is_cuda() || !Cuda.takesTensorMaps()) {
      on.skip("only GPUs from compute capability 9.0 on copy to shared memory by themselves");
      return;
    }
    try (NoGradGuard guard = new NoGradGuard()) {
      for (AdamWCase.Types types : AdamWCheck.TYPES) {
        for (Kind kind : KINDS) {
          Scopes.run(() -> run(on, types, kind));
        }
      }
    }
  }

  private static void run(Comparison on, AdamWCase.Types types, Kind kind) {
    Tensor normal = on.normal(F, PERIOD).to(on.device(), F);
    Side streamed = new Side(types, kind, normal);
    Side plain = new Side(types, kind, normal);
    String what =
        "%s, %s%s, gradients %s: "
            .formatted(types, kind.parameter, kind.rest ? " in two pieces" : "", kind.gradient);
    try (FusedAdamW first = streamed.optimizer(true);
        FusedAdamW second = plain.optimizer(false)) {
      for (int step = 0; step < STEPS; step++) {
        for (Side side : List.of(streamed, plain)) {
          side.draw(normal, step);
        }
        boolean zeroAfter = step >= SKIPPED;
        streamed.step(first, zeroAfter);
        plain.step(second, zeroAfter);
        on.holds(what + "one streams", first.isStreaming() && !second.isStreaming());
        List<Tensor> all = streamed.tensors();
        List<Tensor> others = plain.tensors();
        for (int i = 0; i < all.size(); i++) {
          double differ = Tensors.item(all.get(i).ne(others.get(i)).sum());
          on.holds("%sstep %d, tensor %d of all".formatted(what, step, i), differ == 0);
        }
      }
    }
    streamed.close();
    plain.close();
  }

  /** The tensors of an optimizer, and its scalars. */
  private static final class Side {
    private final Kind kind;
    private final List<FusedAdamW.Slot> slots = new ArrayList<>();
    private final List<Tensor> gradients = new ArrayList<>();
    private final StepScalars scalars;

    Side(AdamWCase.Types types, Kind kind, Tensor normal) {
      this.kind = kind;
      this.scalars = StepScalars.on(normal.device(), AdamWCheck.RATES[0], AdamWCheck.RATES[1]);
      long[] sizes = sizes();
      for (int i = 0; i < sizes.length; i++) {
        Tensor values = tiled(normal, sizes[i], 11L * i);
        Tensor parameter = placed(values, kind.parameter, i);
        Tensor master = kind.parameter == F ? parameter : placed(values, F, i);
        if (kind.rest) {
          master = placed(values.mul(new Scalar(0)), ScalarType.Short, i);
          SplitMaster.split(values, parameter, master);
        }
        slots.add(
            new FusedAdamW.Slot(
                parameter,
                master,
                new Moment(types.first(), false, values),
                new Moment(types.second(), true, values),
                new Moment.Keyed(17L + i, 8L * i),
                0.1 * i));
      }
    }

    /** Numbers that repeat after a while, from one of them on. */
    private static Tensor tiled(Tensor normal, long size, long from) {
      return normal.repeat((from + size) / PERIOD + 1).narrow(0, from, size);
    }

    /** The last slot's begin at an odd element. */
    private static Tensor placed(Tensor values, ScalarType dtype, int slot) {
      long size = values.numel();
      long offset = slot == sizes().length - 1 ? 1 : 0;
      Tensor memory = Tensors.zeros(dtype, values.device(), offset + size);
      Tensor placed = memory.narrow(0, offset, size);
      placed.copy_(values);
      return placed;
    }

    FusedAdamW optimizer(boolean streams) {
      return new FusedAdamW(
          slots, AdamWCheck.BETA1, AdamWCheck.BETA2, AdamWCheck.EPSILON, 1.0, streams);
    }

    /**
     * Gradients for a step; one slot is without in one of them, and in one there is an infinity.
     */
    void draw(Tensor normal, int number) {
      gradients.clear();
      long[] sizes = sizes();
      for (int i = 0; i < sizes.length; i++) {
        boolean none = i == 3 && number == 1;
        Tensor values = tiled(normal, sizes[i], 1000L * number + i);
        gradients.add(none ? null : placed(values, kind.gradient, i));
      }
      if (number == SKIPPED) {
        gradients.get(2).select(0, 12_345).fill_(new Scalar(Double.POSITIVE_INFINITY));
      }
    }

    void step(FusedAdamW optimizer, boolean zeroAfter) {
      optimizer.bind(gradients, zeroAfter);
      scalars.step(optimizer);
    }

    /** All that a step may write. */
    List<Tensor> tensors() {
      List<Tensor> tensors = new ArrayList<>();
      for (int i = 0; i < slots.size(); i++) {
        FusedAdamW.Slot slot = slots.get(i);
        tensors.addAll(List.of(slot.parameter(), slot.master()));
        for (Moment moment : List.of(slot.expAvg(), slot.expAvgSq())) {
          tensors.add(moment.values());
          if (moment.scales() != null) {
            tensors.add(moment.scales());
          }
        }
        if (gradients.get(i) != null) {
          tensors.add(gradients.get(i));
        }
      }
      return tensors;
    }

    void close() {
      slots.forEach(FusedAdamW.Slot::closeMoments);
    }
  }
}
