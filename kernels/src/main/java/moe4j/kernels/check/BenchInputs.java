package moe4j.kernels.check;

import java.util.ArrayList;
import java.util.List;
import moe4j.tensor.Philox;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Random inputs of an operation that is timed, the same in each run. They belong to the scope that
 * is open when they are made.
 */
public final class BenchInputs implements AutoCloseable {
  private static final long SEED = 1234;

  private final Device device;
  private final ScalarType dtype;
  private final List<Runnable> closing = new ArrayList<>();
  private long drawn;

  /** Inputs on a device, in a type. */
  public BenchInputs(Device device, ScalarType dtype) {
    this.device = device;
    this.dtype = dtype;
  }

  /** Where the inputs are. */
  public Device device() {
    return device;
  }

  /** The type of inputs that name no type of their own. */
  public ScalarType dtype() {
    return dtype;
  }

  /** Normal numbers. */
  public Tensor normal(long... shape) {
    return normal(dtype, shape);
  }

  /** Normal numbers of a type of their own. */
  public Tensor normal(ScalarType type, long... shape) {
    Tensor t = torch.empty(shape);
    Philox.normal(t, 1.0, SEED, drawn++, 0);
    return t.to(device, type);
  }

  /** Normal numbers that get a gradient. */
  public Tensor leaf(long... shape) {
    return normal(shape).set_requires_grad(true);
  }

  /** Normal numbers of a type of their own that get a gradient. */
  public Tensor leaf(ScalarType type, long... shape) {
    return normal(type, shape).set_requires_grad(true);
  }

  /** Whole numbers in [0, bound), int64. */
  public Tensor whole(long bound, long... shape) {
    Tensor t = torch.empty(shape);
    Philox.uniform(t, SEED, drawn++, 0);
    return t.mul_(new Scalar((double) bound)).to(device, ScalarType.Long);
  }

  /** Where each of so many groups of equal size ends among so many rows: int32 [groups]. */
  public Tensor ends(long groups, long rows) {
    int[] ends = new int[Math.toIntExact(groups)];
    for (int g = 0; g < ends.length; g++) {
      ends[g] = Math.toIntExact(rows * (g + 1) / groups);
    }
    return Tensor.create(ends).to(device, ScalarType.Int);
  }

  /** Has something done when the operation has been timed. */
  public void atEnd(Runnable close) {
    closing.add(close);
  }

  @Override
  public void close() {
    closing.forEach(Runnable::run);
    closing.clear();
  }
}
