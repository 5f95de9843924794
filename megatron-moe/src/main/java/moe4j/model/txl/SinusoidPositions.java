package moe4j.model.txl;

import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;

/**
 * Sines and cosines of distances (Vaswani et al. 2017), as upstream has them: sines, then cosines.
 */
final class SinusoidPositions {
  private SinusoidPositions() {}

  /**
   * Fills a row for each distance from 0 on: {@code sin(t f_i), cos(t f_i)} with {@code f_i =
   * 10000^(-2i / h)}.
   *
   * @param positions [distances, h]
   * @param clamp distances beyond it get its row; -1 for none
   */
  static void fill(Tensor positions, int clamp) {
    int distances = Math.toIntExact(positions.size(0));
    int h = Math.toIntExact(positions.size(1));
    int half = h / 2;
    float[] values = new float[distances * h];
    for (int t = 0; t < distances; t++) {
      int distance = clamp > 0 ? Math.min(t, clamp) : t;
      for (int i = 0; i < half; i++) {
        double angle = distance * Math.pow(10000, -2.0 * i / h);
        values[t * h + i] = (float) Math.sin(angle);
        values[t * h + half + i] = (float) Math.cos(angle);
      }
    }
    Scopes.run(() -> positions.copy_(Tensors.of(values).view(distances, h)));
  }
}
