package moe4j.kernels.selftest;

import moe4j.kernels.Dropout;
import moe4j.kernels.Philox;
import moe4j.kernels.Scopes;
import moe4j.kernels.StepRandom;
import moe4j.kernels.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Random numbers and dropout: bit for bit what the CPU draws, for micro-batches whose elements
 * begin anywhere in a block of four draws, with the position on the host and on the device.
 */
final class DropoutCheck implements KernelCheck {
  private static final int LAYER = 5;
  private static final int OPERATION = 3;
  private static final long STEP = 0x1_0000_0007L;

  @Override
  public String name() {
    return "dropout";
  }

  @Override
  public void run(Comparison on) {
    for (long[] shape : new long[][] {{4, 37, 64}, {3, 5, 7}, {1, 1, 1}, {2, 2049, 1}}) {
      for (long first : new long[] {0, 3}) {
        Scopes.run(() -> draws(on, shape, first));
        for (Type type : Type.values()) {
          Scopes.run(() -> dropout(on, type, shape, first));
        }
      }
    }
  }

  private static StepRandom expected(Comparison on, long[] shape, long first) {
    return new StepRandom(on.seed() * 0x9E3779B97F4A7C15L, STEP, first, shape[0]);
  }

  /** The same micro-batch's numbers, its position on the device where that is a GPU. */
  private static StepRandom actual(Comparison on, StepRandom expected) {
    return on.device().is_cuda()
        ? StepRandom.onDevice(
            expected.seed(),
            Tensors.of(new long[] {expected.step(), expected.firstSample()})
                .to(on.device(), ScalarType.Long),
            expected.samples())
        : expected;
  }

  private static void draws(Comparison on, long[] shape, long first) {
    StepRandom host = expected(on, shape, first);
    Tensor like = torch.empty(shape);
    long perSample = like.numel() / shape[0];
    Tensor wanted = torch.empty(shape);
    long stream = (STEP & 0xffffffffL) | ((long) LAYER << 32) | ((long) OPERATION << 48);
    Philox.uniform(wanted, host.seed(), stream, perSample * first);
    Tensor there = like.to(on.device(), ScalarType.Float);
    String what = "draws %s from sample %d".formatted(Tensors.shape(like), first);
    on.same(what, host.uniform(there, LAYER, OPERATION), wanted);
    on.same(what + " by position", actual(on, host).uniform(there, LAYER, OPERATION), wanted);
  }

  private static void dropout(Comparison on, Type type, long[] shape, long first) {
    double p = 0.3;
    StepRandom host = expected(on, shape, first);
    Tensor x = on.normal(type.dtype(), shape);
    Tensor upstream = on.normal(type.dtype(), shape);
    Tensor keep =
        host.uniform(torch.empty(shape), LAYER, OPERATION).ge(new Scalar(p)).to(ScalarType.Double);
    Leaves leaves = Leaves.on(on, type.dtype(), x);
    Dropout drop = new Dropout(actual(on, host), p, LAYER, OPERATION);
    Tensor y = leaves.backward(upstream, t -> drop.apply(t[0]));
    Tensor gradient = leaves.gradient(0);
    String what = "dropout %s %s from sample %d".formatted(type, Tensors.shape(x), first);
    on.same(what + ": kept", y.ne(new Scalar(0)), keep.mul(x).ne(new Scalar(0)));
    Tensor scaled = keep.mul(new Scalar(1 / (1 - p)));
    on.close(what, y, x.mul(scaled), type.bound());
    on.same(
        what + ": kept in the gradient",
        gradient.ne(new Scalar(0)),
        keep.mul(upstream).ne(new Scalar(0)));
    on.close(what + ": gradient", gradient, upstream.mul(scaled), type.bound());
  }
}
