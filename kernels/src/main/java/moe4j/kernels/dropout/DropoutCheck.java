package moe4j.kernels.dropout;

import java.util.function.UnaryOperator;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.tensor.Philox;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Random numbers and dropout: bit for bit what the CPU draws, for micro-batches whose elements
 * begin anywhere in a block of four draws, with the position on the host and on the device; and for
 * parts of samples what is drawn for them in the whole.
 */
public final class DropoutCheck implements KernelCheck {
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
        Scopes.run(() -> common(on, shape, first));
        for (Type type : Type.values()) {
          Scopes.run(() -> dropout(on, type, shape, first));
        }
      }
    }
    // Parts of multiples of eight elements, of four, and of neither; a tensor's end within eight.
    for (int[] cut : new int[][] {{4, 12, 64, 3}, {5, 3, 4, 4}, {3, 1, 7, 2}, {2, 513, 1, 5}}) {
      long[] shape = {cut[0], (long) cut[1] * cut[3], cut[2]};
      for (long first : new long[] {0, 3}) {
        for (Type type : Type.values()) {
          Scopes.run(() -> parts(on, type, shape, cut[3], first));
          Scopes.run(() -> slices(on, type, shape, cut[3], first));
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
    on.same(what, Draw.uniform(host, there, LAYER, OPERATION), wanted);
    on.same(what + " by position", Draw.uniform(actual(on, host), there, LAYER, OPERATION), wanted);
  }

  /** What all samples share is drawn alike wherever a micro-batch begins. */
  private static void common(Comparison on, long[] shape, long first) {
    StepRandom host = expected(on, shape, first);
    Tensor like = torch.empty(shape).to(on.device(), ScalarType.Float);
    Tensor wanted =
        Draw.uniform(expected(on, new long[] {1}, 0), torch.empty(shape), LAYER, OPERATION);
    String what = "common draws %s from sample %d".formatted(Tensors.shape(like), first);
    on.same(what, Draw.uniform(host.common(), like, LAYER, OPERATION), wanted);
    on.same(
        what + " by position",
        Draw.uniform(actual(on, host).common(), like, LAYER, OPERATION),
        wanted);
    Tensor x = on.normal(ScalarType.Float, shape);
    Leaves leaves = Leaves.on(on, ScalarType.Float, x);
    Dropout drop = new Dropout(actual(on, host).common(), 0.3, LAYER, OPERATION);
    Tensor upstream = on.normal(ScalarType.Float, shape);
    Tensor y = leaves.backward(upstream, t -> drop.apply(t[0]));
    Tensor factors = wanted.ge(new Scalar(0.3)).to(ScalarType.Double).div(new Scalar(0.7));
    on.close(what + ": dropout", y, x.to(ScalarType.Double).mul(factors), 1e-6);
    on.close(
        what + ": gradient", leaves.gradient(0), upstream.to(ScalarType.Double).mul(factors), 1e-6);
  }

  /** The draws, results and gradients of parts of each sample are rows of the whole's. */
  private static void parts(Comparison on, Type type, long[] shape, int count, long first) {
    pieces(on, type, shape, count, first, false);
  }

  /** Those of parts of all samples' elements are, too. */
  private static void slices(Comparison on, Type type, long[] shape, int count, long first) {
    pieces(on, type, shape, count, first, true);
  }

  private static void pieces(
      Comparison on, Type type, long[] shape, int count, long first, boolean sliced) {
    StepRandom host = expected(on, shape, first);
    StepRandom there = actual(on, host);
    Tensor draws = Draw.uniform(host, torch.empty(shape), LAYER, OPERATION);
    Tensor x = on.normal(type.dtype(), shape);
    Tensor upstream = on.normal(type.dtype(), shape);
    Leaves whole = Leaves.on(on, type.dtype(), x);
    Dropout drop = new Dropout(there, 0.3, LAYER, OPERATION);
    Tensor y = whole.backward(upstream, t -> drop.apply(t[0]));
    long rows = shape[1] / count;
    for (int i = 0; i < count; i++) {
      String what =
          "%s %d of %d, dropout %s %s from sample %d"
              .formatted(sliced ? "slice" : "part", i, count, type, Tensors.shape(x), first);
      int index = i;
      UnaryOperator<Tensor> own = t -> sliced ? slice(t, index, count) : rows(t, index, rows);
      Tensor like = own.apply(draws).to(on.device(), ScalarType.Float);
      Tensor wanted = own.apply(draws);
      StepRandom part = sliced ? there.slice(i, count) : there.part(i, count);
      StepRandom hostPart = sliced ? host.slice(i, count) : host.part(i, count);
      on.same(what + ": draws", Draw.uniform(hostPart, like, LAYER, OPERATION), wanted);
      on.same(what + ": draws by position", Draw.uniform(part, like, LAYER, OPERATION), wanted);
      Leaves leaves = Leaves.on(on, type.dtype(), own.apply(x));
      Dropout dropPart = new Dropout(part, 0.3, LAYER, OPERATION);
      Tensor result = leaves.backward(own.apply(upstream), t -> dropPart.apply(t[0]));
      on.same(what, result, own.apply(y));
      on.same(what + ": gradient", leaves.gradient(0), own.apply(whole.gradient(0)));
    }
  }

  /** The rows of a part of so many. */
  private static Tensor rows(Tensor t, long part, long rows) {
    return Tensors.slice(t, 1, part * rows, (part + 1) * rows).contiguous();
  }

  /** Some of all samples' elements, one after the other. */
  private static Tensor slice(Tensor t, long part, int count) {
    long each = t.numel() / count;
    return t.flatten().narrow(0, part * each, each).contiguous();
  }

  private static void dropout(Comparison on, Type type, long[] shape, long first) {
    double p = 0.3;
    StepRandom host = expected(on, shape, first);
    Tensor x = on.normal(type.dtype(), shape);
    Tensor upstream = on.normal(type.dtype(), shape);
    Tensor keep =
        Draw.uniform(host, torch.empty(shape), LAYER, OPERATION)
            .ge(new Scalar(p))
            .to(ScalarType.Double);
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
