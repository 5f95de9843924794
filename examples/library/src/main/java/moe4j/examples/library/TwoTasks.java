package moe4j.examples.library;

import java.util.Random;
import java.util.stream.DoubleStream;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;

/**
 * Two regression tasks that have as much in common as one likes (Ma et al., KDD 2018, section 3.2):
 * with orthogonal unit vectors u and v, {@code w1 = u}, {@code w2 = p u + sqrt(1 - p^2) v}, and
 *
 * <pre>  y_i = w_i x + sin(2 w_i x) + sin(3 w_i x + 1) + e,  x ~ N(0, 1), e ~ N(0, 0.1^2)</pre>
 */
public final class TwoTasks {
  private static final double NOISE = 0.1;

  private final Random random;
  private final double[] w1;
  private final double[] w2;

  /**
   * Rows of a batch.
   *
   * @param x [T, d]
   * @param y1 [T], the first task's
   * @param y2 [T], the second's
   */
  public record Rows(Tensor x, Tensor y1, Tensor y2) {}

  /**
   * Two tasks.
   *
   * @param d features
   * @param correlation p, between -1 and 1
   * @param random draws the tasks, and then their rows
   */
  public TwoTasks(int d, double correlation, Random random) {
    this.random = random;
    double[] u = normals(d);
    scale(u, 1 / Math.sqrt(dot(u, u)));
    double[] v = normals(d);
    double along = dot(u, v);
    for (int i = 0; i < d; i++) {
      v[i] -= along * u[i];
    }
    scale(v, 1 / Math.sqrt(dot(v, v)));
    this.w1 = u;
    this.w2 = new double[d];
    for (int i = 0; i < d; i++) {
      w2[i] = correlation * u[i] + Math.sqrt(1 - correlation * correlation) * v[i];
    }
  }

  /** Draws rows, in the scope that is open. */
  public Rows draw(int rows) {
    int d = w1.length;
    float[] xs = new float[rows * d];
    float[] first = new float[rows];
    float[] second = new float[rows];
    for (int t = 0; t < rows; t++) {
      double[] x = normals(d);
      for (int i = 0; i < d; i++) {
        xs[t * d + i] = (float) x[i];
      }
      first[t] = target(dot(w1, x));
      second[t] = target(dot(w2, x));
    }
    return new Rows(Tensors.of(xs, rows, d), Tensors.of(first), Tensors.of(second));
  }

  private float target(double z) {
    return (float) (z + Math.sin(2 * z) + Math.sin(3 * z + 1) + NOISE * random.nextGaussian());
  }

  private double[] normals(int d) {
    return DoubleStream.generate(random::nextGaussian).limit(d).toArray();
  }

  private static void scale(double[] x, double factor) {
    for (int i = 0; i < x.length; i++) {
      x[i] *= factor;
    }
  }

  private static double dot(double[] a, double[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += a[i] * b[i];
    }
    return sum;
  }
}
