package moe4j.transformer;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import java.util.Random;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class RotaryEmbeddingTest {
  private static final String FLAGS =
      "--num-layers 1 --hidden-size 16 --num-attention-heads 1 --seq-length 40"
          + " --position-embedding-type rope";

  private static RotaryEmbedding rotary(String flags, ScalarType dtype) {
    return new RotaryEmbedding(Models.config(FLAGS + flags).rotary(), dtype, new Device("cpu"));
  }

  @DataProvider
  public Object[][] kinds() {
    return new Object[][] {
      {16, 10000, 1.0, false},
      {16, 10000, 1.0, true},
      {16, 10000, 0.5, false},
      {16, 10000, 0.5, true},
      {12, 500_000, 1.0, false},
      {10, 100, 0.4, true},
      {2, 10000, 1.0, false},
    };
  }

  /** Each pair as a complex number times {@code exp(i position base^(-2 pair / r))}. */
  @Test(dataProvider = "kinds")
  public void pairsTurn(int d, int base, double percent, boolean interleaved) {
    Random random = Seeds.random(RotaryEmbeddingTest.class);
    RotaryEmbedding rotary =
        rotary(
            " --kv-channels %d --rotary-base %d --rotary-percent %s%s"
                .formatted(d, base, percent, interleaved ? " --rotary-interleaved" : ""),
            ScalarType.Float);
    int r = (int) (d * percent);
    int batch = 2;
    int sequence = 9;
    int heads = 3;
    try (PointerScope scope = new PointerScope()) {
      Tensor x = Models.normals(random, batch, sequence, heads, d);
      long[] positions = random.longs((long) batch * sequence, 0, 40).toArray();
      Tensor given = Tensors.of(positions, batch, sequence);
      float[] in = Tensors.floats(x);
      for (boolean own : new boolean[] {true, false}) {
        Tensor y = rotary.rotate(x, rotary.at(own ? given : null, sequence));
        double[] expected = Close.doubles(in);
        for (int row = 0; row < batch * sequence * heads; row++) {
          int place = row / heads;
          double position = own ? positions[place] : place % sequence;
          for (int pair = 0; pair < r / 2; pair++) {
            int a = row * d + (interleaved ? 2 * pair : pair);
            int b = row * d + (interleaved ? 2 * pair + 1 : pair + r / 2);
            double angle = position * Math.pow(base, -2.0 * pair / r);
            expected[a] = in[a] * Math.cos(angle) - in[b] * Math.sin(angle);
            expected[b] = in[a] * Math.sin(angle) + in[b] * Math.cos(angle);
          }
        }
        assertClose("rotated", Tensors.floats(y), expected, 1e-6, 1);
      }
    }
  }

  /** What attention sees is how far apart two tokens are. */
  @Test
  public void productsDependOnTheDistanceAlone() {
    Random random = Seeds.random(RotaryEmbeddingTest.class);
    RotaryEmbedding rotary = rotary("", ScalarType.Float);
    try (PointerScope scope = new PointerScope()) {
      Tensor query = Models.normals(random, 1, 1, 1, 16);
      Tensor key = Models.normals(random, 1, 1, 1, 16);
      double near = product(rotary, query, 5, key, 2);
      assertEquals(product(rotary, query, 33, key, 30), near, 1e-4);
      assertEquals(Tensors.item(query.mul(key).sum()), product(rotary, query, 7, key, 7), 1e-4);
    }
  }

  private static double product(
      RotaryEmbedding rotary, Tensor query, long at, Tensor key, long place) {
    Tensor turned = rotary.rotate(query, rotary.at(Tensors.of(new long[] {at}, 1, 1), 1));
    Tensor other = rotary.rotate(key, rotary.at(Tensors.of(new long[] {place}, 1, 1), 1));
    return Tensors.item(turned.mul(other).sum());
  }

  /** A rotation's gradient is the rotation back. */
  @Test
  public void gradientsTurnBack() {
    Random random = Seeds.random(RotaryEmbeddingTest.class);
    for (String flags : new String[] {"", " --rotary-interleaved", " --rotary-percent 0.5"}) {
      RotaryEmbedding rotary = rotary(flags, ScalarType.Float);
      try (PointerScope scope = new PointerScope()) {
        Tensor x = Models.normals(random, 2, 8, 2, 16).set_requires_grad(true);
        Tensor y = rotary.rotate(x, rotary.at(null, 8));
        y.mul(y.detach()).sum().backward();
        assertClose("gradient", Tensors.floats(x.grad()), Tensors.floats(x), 1e-6, 1);
      }
    }
  }

  @Test
  public void bf16() {
    RotaryEmbedding rotary = rotary("", ScalarType.BFloat16);
    try (PointerScope scope = new PointerScope()) {
      Tensor x = Models.normals(Seeds.random(RotaryEmbeddingTest.class), 1, 8, 2, 16);
      Tensor y = rotary.rotate(x.to(ScalarType.BFloat16), rotary.at(null, 8));
      assertSame(Tensors.dtype(y), ScalarType.BFloat16);
      RotaryEmbedding exact = rotary("", ScalarType.Float);
      float[] expected = Tensors.floats(exact.rotate(x, exact.at(null, 8)));
      assertClose("bf16", Tensors.floats(y), expected, 1e-2, 1);
    }
  }
}
