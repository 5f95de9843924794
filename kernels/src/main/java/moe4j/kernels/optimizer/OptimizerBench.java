package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.BenchInputs;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.cuda.Kernels;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A step of AdamW over the tensors of some layers of a GPT. */
public final class OptimizerBench implements KernelBench {
  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.95;
  private static final double EPSILON = 1e-8;
  private static final double DECAY = 0.1;
  private static final double CLIP = 1.0;
  private static final double RATE = 1e-4;

  /** How a case keeps its state. */
  private record Kept(boolean rest, MomentType moments) {
    String name() {
      String word = moments == MomentType.FP32 ? "" : ", moments in " + moments.word();
      return "AdamW with its clipping" + (rest ? ", masters of 16 bits more" : "") + word;
    }

    /** Bytes that an element's step moves; the norm reads the gradient once more. */
    double bytes(boolean bf16) {
      double master = rest ? 2 * 2 + 2 * 2 : 2 * 4 + (bf16 ? 2 : 0);
      return master + 2 * 2 * moments.bytes() + 2 * (bf16 ? 2 : 4);
    }
  }

  @Override
  public List<BenchCase> cases(Scale scale) {
    long layers = scale.of(12, 2);
    long h = scale.of(768, 32);
    long[] sizes = {3 * h * h, h * h, 4 * h * h, 4 * h * h, 3 * h, h, 4 * h, h, h, h, h, h};
    long elements = 0;
    for (long size : sizes) {
      elements += layers * size;
    }
    boolean bf16 = scale.dtype() == ScalarType.BFloat16;
    List<Kept> all = new ArrayList<>(List.of(new Kept(false, MomentType.FP32)));
    if (bf16) {
      for (MomentType moments : MomentType.values()) {
        all.add(new Kept(true, moments));
      }
    }
    BenchCases cases = new BenchCases();
    for (Kept kept : all) {
      cases.forward(
          kept.name(),
          "%d tensors, %d elements".formatted(layers * sizes.length, elements),
          Cost.bytes(Math.round(elements * kept.bytes(bf16))),
          in -> step(in, layers, sizes, kept, bf16));
    }
    return cases.list();
  }

  private static Operation step(
      BenchInputs in, long layers, long[] sizes, Kept kept, boolean bf16) {
    Lists lists = new Lists();
    for (long layer = 0; layer < layers; layer++) {
      for (long size : sizes) {
        lists.add(in, size, kept, bf16);
      }
    }
    in.atEnd(lists::close);
    StepScalars scalars = StepScalars.on(in.device(), RATE, RATE);
    boolean fuses = Kernels.take(scalars.norm());
    ReferenceAdamW reference =
        fuses && kept.moments != MomentType.FP32
            ? null
            : new ReferenceAdamW(lists.slots, BETA1, BETA2, EPSILON, CLIP);
    Supplier<Tensor> plain =
        () -> {
          scalars.step(reference, lists.gradients);
          return scalars.norm();
        };
    if (!fuses) {
      return Operation.of(plain);
    }
    FusedAdamW fused = new FusedAdamW(lists.slots, BETA1, BETA2, EPSILON, CLIP);
    in.atEnd(fused::close);
    fused.bind(lists.gradients, false);
    Supplier<Tensor> ours =
        () -> {
          scalars.step(fused);
          return scalars.norm();
        };
    return reference == null ? Operation.of(ours) : Operation.beside(ours, plain);
  }

  /** The optimizer's slots, and a gradient for each. */
  private static final class Lists {
    private final List<FusedAdamW.Slot> slots = new ArrayList<>();
    private final List<Tensor> gradients = new ArrayList<>();

    void add(BenchInputs in, long size, Kept kept, boolean bf16) {
      Tensor master = in.normal(ScalarType.Float, size);
      Tensor parameter = bf16 ? master.to(ScalarType.BFloat16) : master;
      Tensor rest = kept.rest ? Tensors.zeros(ScalarType.Short, in.device(), size) : master;
      gradients.add(in.normal(bf16 ? ScalarType.BFloat16 : ScalarType.Float, size));
      slots.add(
          new FusedAdamW.Slot(
              parameter,
              rest,
              new Moment(kept.moments, false, master),
              new Moment(kept.moments, true, master),
              new Moment.Keyed(slots.size(), 0),
              DECAY));
    }

    void close() {
      slots.forEach(FusedAdamW.Slot::closeMoments);
    }
  }
}
