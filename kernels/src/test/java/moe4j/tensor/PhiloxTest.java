package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class PhiloxTest {
  /** More than two of the pieces that threads fill. */
  private static final int MANY = 150_001;

  /** The known answers that the Random123 library publishes for ten rounds. */
  @DataProvider
  public Object[][] knownAnswers() {
    return new Object[][] {
      {0L, 0L, 0L, new int[] {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {-1L, -1L, -1L, new int[] {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {
        0x299f31d0_a4093822L,
        0x85a308d3_243f6a88L,
        0x03707344_13198a2eL,
        new int[] {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}
      },
    };
  }

  @Test(dataProvider = "knownAnswers")
  public void blocksAreRandom123s(long key, long low, long high, int[] expected) {
    int[] out = new int[4];
    Philox.block(key, low, high, out);
    assertEquals(out, expected);
  }

  @Test
  public void elementsAreTheBlocksDraws() {
    int[] draws = new int[4];
    float[] values = uniform(8, 5, 9, 40);
    for (int i = 0; i < 8; i++) {
      Philox.block(5, (40 + i) / 4, 9, draws);
      assertEquals(values[i], (draws[i % 4] >>> 8) / 16777216f);
    }
  }

  @Test
  public void uniformIsBelowOne() {
    assertEquals(Philox.uniform(0), 0f);
    assertEquals(Philox.uniform(-1), Math.nextDown(1f));
  }

  @Test
  public void anElementDoesNotDependOnWhereFillingBegan() {
    Random random = Seeds.random(PhiloxTest.class);
    long key = random.nextLong();
    long stream = random.nextLong();
    float[] uniform = uniform(MANY, key, stream, 0);
    float[] normal = normal(MANY, 0.5, key, stream, 0);
    for (int round = 0; round < 20; round++) {
      int cut = round < 6 ? round : random.nextInt(MANY);
      assertTrue(
          Arrays.equals(uniform(cut, key, stream, 0), Arrays.copyOf(uniform, cut)), "" + cut);
      assertTail(uniform, uniform(MANY - cut, key, stream, cut), cut);
      assertTail(normal, normal(MANY - cut, 0.5, key, stream, cut), cut);
    }
  }

  private static void assertTail(float[] whole, float[] tail, int cut) {
    assertTrue(Arrays.equals(whole, cut, whole.length, tail, 0, tail.length), "cut at " + cut);
  }

  @Test
  public void indicesBeyond32Bits() {
    long far = 7_000_000_003L;
    float[] values = uniform(9, 1, 2, far);
    int[] draws = new int[4];
    for (int i = 0; i < 9; i++) {
      Philox.block(1, (far + i) / 4, 2, draws);
      assertEquals(values[i], Philox.uniform(draws[(int) ((far + i) % 4)]));
    }
  }

  /** Of a million draws; the bounds are six standard errors. */
  @Test
  public void moments() {
    Random random = Seeds.random(PhiloxTest.class);
    int n = 1_000_000;
    double error = 6 / Math.sqrt(n);
    float[] uniform = uniform(n, random.nextLong(), 1, 0);
    assertEquals(moment(uniform, 0, 1), 0.5, error * Math.sqrt(1 / 12.0));
    assertEquals(moment(uniform, 0.5, 2), 1 / 12.0, error * Math.sqrt(1 / 180.0));
    float[] normal = normal(n, 3, random.nextLong(), 1, 0);
    for (int i = 0; i < n; i++) {
      assertTrue(Float.isFinite(normal[i]));
      normal[i] /= 3;
    }
    assertEquals(moment(normal, 0, 1), 0, error);
    assertEquals(moment(normal, 0, 2), 1, error * Math.sqrt(2));
    assertEquals(moment(normal, 0, 3), 0, error * Math.sqrt(15));
    assertEquals(moment(normal, 0, 4), 3, error * Math.sqrt(96));
    double neighbours = 0;
    for (int i = 1; i < n; i++) {
      neighbours += normal[i] * (double) normal[i - 1] / n;
    }
    assertEquals(neighbours, 0, error);
  }

  @Test
  public void keysAndStreamsAreApart() {
    float[] values = uniform(64, 3, 4, 0);
    for (float[] other : new float[][] {uniform(64, 4, 4, 0), uniform(64, 3, 5, 0)}) {
      for (int i = 0; i < 64; i++) {
        assertTrue(values[i] != other[i]);
      }
    }
  }

  /** The known answers of 64-bit FNV-1a. */
  @Test
  public void streamsOfNames() {
    assertEquals(Philox.stream(""), 0xcbf29ce484222325L);
    assertEquals(Philox.stream("a"), 0xaf63dc4c8601ec8cL);
    assertEquals(Philox.stream("foobar"), 0x85944171f73967e8L);
  }

  private static double moment(float[] values, double centre, int power) {
    double sum = 0;
    for (float value : values) {
      sum += Math.pow(value - centre, power);
    }
    return sum / values.length;
  }

  private static float[] uniform(int n, long key, long stream, long first) {
    try (PointerScope scope = new PointerScope()) {
      Tensor t = torch.empty(n);
      Philox.uniform(t, key, stream, first);
      return Tensors.floats(t);
    }
  }

  private static float[] normal(int n, double std, long key, long stream, long first) {
    try (PointerScope scope = new PointerScope()) {
      Tensor t = torch.empty(n);
      Philox.normal(t, std, key, stream, first);
      return Tensors.floats(t);
    }
  }
}
