package moe4j.kernels.optimizer;

import java.util.List;
import moe4j.kernels.check.Comparison;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A tensor's state under {@link AdamWCheck}, and what it should be, fp64 on the CPU. */
final class AdamWCase {
  /**
   * The size and the types of a tensor.
   *
   * @param offset elements before it in its memory: an odd one is aligned to nothing
   * @param rest whether a bf16 parameter has the rest of its master beside it, and not the master
   */
  record Kind(long size, int offset, ScalarType parameter, boolean rest, ScalarType gradient) {}

  /** The types of both moments; of every fourth tensor they are fp32 in any case. */
  record Types(MomentType first, MomentType second) {
    double bound() {
      return Math.max(bound(first), bound(second));
    }

    /** Draws move a number by up to an eighth in 8 bits, and by a 128th in bf16, at each step. */
    static double bound(MomentType type) {
      return switch (type) {
        case FP32 -> 1e-5;
        case BF16 -> 1e-2;
        case FP8 -> 0.15;
      };
    }

    @Override
    public String toString() {
      return first.word() + " " + second.word();
    }
  }

  final Kind kind;
  final double decay;
  final FusedAdamW.Slot slot;
  final Tensor start;
  final Tensor parameter;
  final Tensor expAvg;
  final Tensor expAvgSq;
  Tensor gradient;

  AdamWCase(Comparison on, Kind kind, Types types, int number) {
    this.kind = kind;
    this.decay = number % 2 * 0.1;
    this.start = on.normal(kind.parameter, kind.size);
    this.parameter = start.clone();
    this.expAvg = Tensors.zeros(ScalarType.Double, start.device(), kind.size);
    this.expAvgSq = expAvg.clone();
    Tensor given = place(on.device(), kind.parameter, start);
    Tensor master =
        kind.parameter == ScalarType.Float
            ? given
            : kind.rest
                ? place(on.device(), ScalarType.Short, expAvg)
                : place(on.device(), ScalarType.Float, start);
    this.slot =
        new FusedAdamW.Slot(
            given,
            master,
            new Moment(types.first, false, given),
            new Moment(types.second, true, given),
            new Moment.Keyed(on.seed() + number, 8L * number),
            decay);
  }

  Types types() {
    return new Types(slot.expAvg().type(), slot.expAvgSq().type());
  }

  Tensor master() {
    return kind.rest ? SplitMaster.join(slot.parameter(), slot.master()) : slot.master();
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
    expAvg.mul_(new Scalar(AdamWCheck.BETA1)).add_(g.mul(new Scalar(1 - AdamWCheck.BETA1)));
    expAvgSq
        .mul_(new Scalar(AdamWCheck.BETA2))
        .add_(g.square().mul(new Scalar(1 - AdamWCheck.BETA2)));
    Tensor root = expAvgSq.div(new Scalar(1 - Math.pow(AdamWCheck.BETA2, step))).sqrt_();
    Tensor change = expAvg.div(root.add_(new Scalar(AdamWCheck.EPSILON)));
    parameter.mul_(new Scalar(1 - rate * decay));
    parameter.sub_(change.mul_(new Scalar(rate / (1 - Math.pow(AdamWCheck.BETA1, step)))));
  }

  List<Tensor> tensors() {
    return List.of(slot.parameter(), master(), slot.expAvg().read(), slot.expAvgSq().read());
  }
}
