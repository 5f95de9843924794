package moe4j.moe.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How far a layer's output and its gradients are from those of a reference in a longer type: {@code
 * ||actual - expected|| / ||expected||}, by Frobenius norms.
 *
 * @param type of the reference, fp32 or fp64
 * @param errors of each tensor
 */
public record LayerErrors(String type, List<Figure> errors) {

  /** Copies the list. */
  public LayerErrors {
    errors = List.copyOf(errors);
  }

  /**
   * One tensor's.
   *
   * @param what it is
   * @param whole the error of all of it
   * @param worst the largest error of one expert's part, or NaN where it has no such parts
   */
  public record Figure(String what, double whole, double worst) {
    private boolean within(double bound) {
      return whole <= bound && !(worst > bound);
    }

    @Override
    public String toString() {
      return Double.isNaN(worst)
          ? String.format(Locale.ROOT, "%s %.1e", what, whole)
          : String.format(Locale.ROOT, "%s %.1e (worst expert %.1e)", what, whole, worst);
    }
  }

  /** Adds an error up, part by part. */
  static final class Parts {
    private final String what;
    private final List<Double> each = new ArrayList<>();
    private double difference;
    private double expectation;

    Parts(String what) {
      this.what = what;
    }

    /** Compares a part. */
    void add(Tensor actual, Tensor expected) {
      double wrong = norm(actual.detach().to(Tensors.dtype(expected)).sub(expected));
      double scale = norm(expected);
      difference += wrong * wrong;
      expectation += scale * scale;
      each.add(ratio(wrong, scale));
    }

    /** Compares a part that is to be all zeros. */
    void addZeros(Tensor actual) {
      double wrong = norm(actual.detach());
      difference += wrong * wrong;
      each.add(ratio(wrong, 0));
    }

    private static double norm(Tensor t) {
      return Tensors.item(t.to(ScalarType.Double).norm(new Scalar(2)));
    }

    private static double ratio(double wrong, double scale) {
      return wrong == 0 ? 0 : wrong / scale;
    }

    /** The error of a tensor whose parts are experts'. */
    Figure byExpert() {
      double worst = 0;
      for (double error : each) {
        // Not Math.max alone: a comparison would pass over what is no number.
        worst = Double.isNaN(error) ? Double.POSITIVE_INFINITY : Math.max(worst, error);
      }
      return new Figure(what, whole(), worst);
    }

    /** The error of a tensor in one part. */
    Figure atOnce() {
      return new Figure(what, whole(), Double.NaN);
    }

    private double whole() {
      return ratio(Math.sqrt(difference), Math.sqrt(expectation));
    }
  }

  /** Whether no error is above a bound; one that is no number is. */
  public boolean within(double bound) {
    return errors.stream().allMatch(error -> error.within(bound));
  }

  @Override
  public String toString() {
    return "errors against %s: %s"
        .formatted(type, String.join(", ", errors.stream().map(Figure::toString).toList()));
  }
}
