package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.BenchInputs;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.cuda.Kernels;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A step of AdamW over the tensors of some layers of a GPT. */
public final class OptimizerBench implements KernelBench {
  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.95;
  private static final double EPSILON = 1e-8;
  private static final double DECAY = 0.1;
  private static final double CLIP = 1.0;

  @Override
  public List<BenchCase> cases(Scale scale) {
    long layers = scale.of(12, 2);
    long h = scale.of(768, 32);
    long[] sizes = {3 * h * h, h * h, 4 * h * h, 4 * h * h, 3 * h, h, 4 * h, h, h, h, h, h};
    long elements = 0;
    for (long size : sizes) {
      elements += layers * size;
    }
    // The gradient in, the master and both moments in and out, and a bf16 parameter out.
    long bytes = elements * (4 + 3 * 8) + (isBf16(scale) ? scale.bytes(elements) : 0);
    BenchCases cases = new BenchCases();
    cases.forward(
        "AdamW with its clipping",
        "%d tensors, %d elements".formatted(layers * sizes.length, elements),
        Cost.bytes(bytes),
        in -> step(in, layers, sizes, isBf16(scale)));
    return cases.list();
  }

  private static boolean isBf16(Scale scale) {
    return scale.dtype() == ScalarType.BFloat16;
  }

  private static Operation step(BenchInputs in, long layers, long[] sizes, boolean bf16) {
    Lists lists = new Lists(in);
    for (long layer = 0; layer < layers; layer++) {
      for (long size : sizes) {
        lists.add(in, size, bf16);
      }
    }
    if (!Kernels.take(lists.norm)) {
      return Operation.of(lists::reference);
    }
    List<FusedAdamW.Slot> slots = new ArrayList<>();
    for (int i = 0; i < lists.masters.size(); i++) {
      slots.add(
          new FusedAdamW.Slot(
              lists.parameters.get(i),
              lists.masters.get(i),
              lists.first.get(i),
              lists.second.get(i),
              DECAY));
    }
    FusedAdamW fused = new FusedAdamW(slots, BETA1, BETA2, EPSILON, CLIP);
    in.atEnd(fused::close);
    fused.bind(lists.gradients, false);
    return Operation.beside(
        () -> {
          fused.step(lists.rates, lists.step, lists.norm, lists.foundInf);
          return lists.norm;
        },
        lists::reference);
  }

  /** All tensors of the optimizer. */
  private static final class Lists {
    private final List<Tensor> parameters = new ArrayList<>();
    private final List<Tensor> masters = new ArrayList<>();
    private final List<Tensor> gradients = new ArrayList<>();
    private final List<Tensor> first = new ArrayList<>();
    private final List<Tensor> second = new ArrayList<>();
    private final Tensor rates;
    private final Tensor step;
    private final Tensor norm;
    private final Tensor foundInf;

    Lists(BenchInputs in) {
      rates = Tensors.full(1e-4, ScalarType.Float, in.device(), 2);
      step = Tensors.zeros(ScalarType.Float, in.device());
      norm = Tensors.zeros(ScalarType.Float, in.device());
      foundInf = Tensors.zeros(ScalarType.Float, in.device());
    }

    void add(BenchInputs in, long size, boolean bf16) {
      Tensor master = in.normal(ScalarType.Float, size);
      masters.add(master);
      parameters.add(bf16 ? master.to(ScalarType.BFloat16) : master);
      gradients.add(in.normal(ScalarType.Float, size));
      first.add(Tensors.zeros(ScalarType.Float, in.device(), size));
      second.add(Tensors.zeros(ScalarType.Float, in.device(), size));
    }

    /** The step in operations over lists of tensors. */
    Tensor reference() {
      norm.copy_(TensorLists.norm(gradients));
      foundInf.copy_(norm.isfinite().logical_not());
      step.add_(foundInf.neg().add_(new Scalar(1.0)));
      Tensor divisor = norm.add(new Scalar(1e-6)).div(new Scalar(CLIP)).clamp_min(new Scalar(1.0));
      TensorLists.adamw(
          masters,
          gradients,
          first,
          second,
          step,
          rates.select(0, 0),
          BETA1,
          BETA2,
          DECAY,
          EPSILON,
          divisor,
          foundInf);
      // In fp32 a parameter is its own master.
      if (Tensors.dtype(parameters.get(0)) == ScalarType.BFloat16) {
        TensorLists.copy(parameters, masters);
      }
      return norm;
    }
  }
}
