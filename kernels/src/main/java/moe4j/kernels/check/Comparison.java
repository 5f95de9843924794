package moe4j.kernels.check;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import moe4j.tensor.Philox;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A check's inputs and what it found: random tensors from a seed, and errors against bounds. */
public final class Comparison {
  private final Device device;
  private final long seed;
  private final List<Finding> findings = new ArrayList<>();
  private long drawn;
  private String skipped;

  /** A comparison on a device, whose inputs follow from the seed. */
  public Comparison(Device device, long seed) {
    this.device = device;
    this.seed = seed;
  }

  /**
   * A figure that was compared.
   *
   * @param what such as {@code norm bf16 768: weight gradient}
   * @param error relative, by Frobenius norms; or of exact comparisons the elements that differ
   * @param bound the largest error that passes
   */
  public record Finding(String what, double error, double bound) {
    /** Whether the error is within its bound; a NaN is not. */
    public boolean passed() {
      return error <= bound;
    }

    @Override
    public String toString() {
      return String.format(
          Locale.ROOT, "%-60s %9.2e of %7.0e  %s", what, error, bound, passed() ? "ok" : "FAILED");
    }
  }

  /** Where the kernels are checked. */
  public Device device() {
    return device;
  }

  /** The seed, for sizes that a check draws by itself. */
  public long seed() {
    return seed;
  }

  /**
   * Says that nothing is compared here.
   *
   * @param reason a clause, such as {@code it needs a GPU}
   */
  public void skip(String reason) {
    skipped = reason;
  }

  /** Why nothing is compared here; null where something is. */
  public String skipped() {
    return skipped;
  }

  /** What was found so far. */
  public List<Finding> findings() {
    return findings;
  }

  /**
   * Normal numbers, fp64 on the CPU, rounded to a type so that both sides see the same values;
   * another tensor at each call.
   */
  public Tensor normal(ScalarType dtype, long... shape) {
    Tensor t = torch.empty(shape);
    Philox.normal(t, 1.0, seed, drawn++, 0);
    return t.to(dtype).to(ScalarType.Double);
  }

  /** A leaf of the function under test: the same values, in a type on the device. */
  public Tensor leaf(Tensor values, ScalarType dtype) {
    return values.detach().to(device, dtype).set_requires_grad(true);
  }

  /** {@code ||actual - expected|| / ||expected||} is at most {@code bound}. */
  public void close(String what, Tensor actual, Tensor expected, double bound) {
    Tensor a = actual.detach().cpu().to(ScalarType.Double);
    Tensor e = expected.detach().cpu().to(ScalarType.Double);
    if (isOfAnotherShape(what, a, e, bound)) {
      return;
    }
    double scale = Tensors.item(e.norm());
    double difference = Tensors.item(a.sub(e).norm());
    findings.add(new Finding(what, scale == 0 ? difference : difference / scale, bound));
  }

  /**
   * {@link #close} in each of several consecutive groups by itself, of which the worst is told: a
   * group that is wrong is not hidden by the others.
   *
   * @param ends where each group ends in the first dimension; what lies behind the last is not
   *     compared
   */
  public void closeInGroups(
      String what, Tensor actual, Tensor expected, long[] ends, double bound) {
    Tensor a = actual.detach().cpu().to(ScalarType.Double);
    Tensor e = expected.detach().cpu().to(ScalarType.Double);
    if (isOfAnotherShape(what, a, e, bound)) {
      return;
    }
    double worst = 0;
    int of = 0;
    long start = 0;
    for (int g = 0; g < ends.length; g++) {
      Tensor own = Tensors.slice(e, 0, start, ends[g]);
      double scale = Tensors.item(own.norm());
      double difference = Tensors.item(Tensors.slice(a, 0, start, ends[g]).sub(own).norm());
      double error = scale == 0 ? difference : difference / scale;
      // A NaN is worse than all numbers.
      if (!(error <= worst)) {
        worst = error;
        of = g;
      }
      if (Double.isNaN(worst)) {
        break;
      }
      start = ends[g];
    }
    findings.add(new Finding(what + " (group " + of + ")", worst, bound));
  }

  /** All elements are equal, bit for bit. */
  public void same(String what, Tensor actual, Tensor expected) {
    if (isOfAnotherShape(what, actual, expected, 0)) {
      return;
    }
    Tensor differ = actual.detach().cpu().ne(expected.detach().cpu());
    findings.add(new Finding(what, Tensors.item(differ.sum()), 0));
  }

  /** Whether the shapes differ, which is a finding that does not pass. */
  private boolean isOfAnotherShape(String what, Tensor actual, Tensor expected, double bound) {
    if (Arrays.equals(actual.shape(), expected.shape())) {
      return false;
    }
    String shapes = Tensors.shape(actual) + " for " + Tensors.shape(expected);
    findings.add(new Finding(what + ": shape " + shapes, Double.NaN, bound));
    return true;
  }

  /** A condition holds. */
  public void holds(String what, boolean so) {
    findings.add(new Finding(what, so ? 0 : 1, 0));
  }
}
