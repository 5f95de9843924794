package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.kernels.dropout.Draw;
import moe4j.kernels.dropout.Dropout;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class StepRandomTest {
  private static final int LAYER = 3;
  private static final int OPERATION = 2;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(StepRandomTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private Tensor normals(long... shape) {
    long size = 1;
    for (long n : shape) {
      size *= n;
    }
    return Tensors.of(Seeds.normals(random, (int) size), shape);
  }

  @Test
  public void numbersDoNotDependOnHowABatchIsCut() {
    long seed = random.nextLong();
    // 15 elements a sample: a cut falls within a block of four.
    Tensor batch = normals(6, 3, 5);
    float[] whole = drop(new StepRandom(seed, 9, 0, 6), batch);
    for (int size : new int[] {1, 2, 3}) {
      for (int from = 0; from < 6; from += size) {
        Tensor part = Tensors.slice(batch, 0, from, from + size);
        float[] dropped = drop(new StepRandom(seed, 9, from, size), part);
        for (int i = 0; i < dropped.length; i++) {
          assertEquals(dropped[i], whole[from * 15 + i]);
        }
      }
    }
  }

  private static float[] drop(StepRandom numbers, Tensor x) {
    return Tensors.floats(new Dropout(numbers, 0.4, LAYER, OPERATION).apply(x));
  }

  @Test
  public void normalNumbersDoNotDependOnHowABatchIsCut() {
    long seed = random.nextLong();
    Tensor batch = torch.empty(6, 3, 5);
    float[] whole =
        Tensors.floats(Draw.normal(new StepRandom(seed, 9, 0, 6), batch, LAYER, OPERATION));
    for (int size : new int[] {1, 2, 3}) {
      for (int from = 0; from < 6; from += size) {
        Tensor part = Tensors.slice(batch, 0, from, from + size);
        StepRandom numbers = new StepRandom(seed, 9, from, size);
        assertEquals(
            Tensors.floats(Draw.normal(numbers, part, LAYER, OPERATION)),
            Arrays.copyOfRange(whole, from * 15, (from + size) * 15));
      }
    }
    StepRandom later = new StepRandom(seed, 10, 0, 6);
    assertNotEquals(Tensors.floats(Draw.normal(later, batch, LAYER, OPERATION)), whole);
  }

  /** Samples, rows of a part, elements of a row, parts. */
  @DataProvider
  public Object[][] cuts() {
    Random sizes = Seeds.random(StepRandomTest.class);
    List<Object[]> cuts = new ArrayList<>();
    // Blocks of four within a part, across parts' ends, and several to a block.
    cuts.add(new Object[] {3, 2, 8, 4});
    cuts.add(new Object[] {3, 3, 4, 2});
    cuts.add(new Object[] {5, 1, 1, 3});
    cuts.add(new Object[] {1, 7, 5, 6});
    cuts.add(new Object[] {4, 3, 7, 1});
    // More than a worker fills at a time: in one part, and in all samples'.
    cuts.add(new Object[] {2, 70_001, 1, 2});
    cuts.add(new Object[] {1500, 9, 5, 2});
    for (int i = 0; i < 20; i++) {
      cuts.add(
          new Object[] {
            1 + sizes.nextInt(6), 1 + sizes.nextInt(9), 1 + sizes.nextInt(13), 1 + sizes.nextInt(6)
          });
    }
    return cuts.toArray(Object[][]::new);
  }

  @Test(dataProvider = "cuts")
  public void partsAreThoseOfTheWhole(int samples, int rows, int channels, int count) {
    StepRandom whole =
        new StepRandom(random.nextLong(), random.nextInt(99), random.nextInt(9), samples);
    Tensor batch = normals(samples, (long) rows * count, channels);
    Tensor uniform = Draw.uniform(whole, batch, LAYER, OPERATION);
    Tensor normal = Draw.normal(whole, batch, LAYER, OPERATION);
    Tensor dropped = new Dropout(whole, 0.4, LAYER, OPERATION).apply(batch);
    for (int i = 0; i < count; i++) {
      StepRandom part = whole.part(i, count);
      Tensor own = rows(batch, i, rows);
      assertSameBits(Draw.uniform(part, own, LAYER, OPERATION), rows(uniform, i, rows));
      assertSameBits(Draw.normal(part, own, LAYER, OPERATION), rows(normal, i, rows));
      assertSameBits(new Dropout(part, 0.4, LAYER, OPERATION).apply(own), rows(dropped, i, rows));
    }
  }

  @Test(dataProvider = "cuts")
  public void slicesAreThoseOfTheWhole(int samples, int rows, int channels, int count) {
    StepRandom whole =
        new StepRandom(random.nextLong(), random.nextInt(99), random.nextInt(9), samples);
    // All samples' elements are cut, which a sample's number need not divide.
    Tensor batch = normals(samples, (long) rows * count, channels).flatten();
    long each = batch.numel() / count;
    Tensor uniform = Draw.uniform(whole, batch, LAYER, OPERATION);
    Tensor dropped = new Dropout(whole, 0.4, LAYER, OPERATION).apply(batch);
    for (int i = 0; i < count; i++) {
      StepRandom slice = whole.slice(i, count);
      Tensor own = batch.narrow(0, i * each, each).contiguous();
      assertSameBits(Draw.uniform(slice, own, LAYER, OPERATION), uniform.narrow(0, i * each, each));
      assertSameBits(
          new Dropout(slice, 0.4, LAYER, OPERATION).apply(own), dropped.narrow(0, i * each, each));
    }
  }

  /** The rows of a part of so many. */
  private static Tensor rows(Tensor t, long part, long rows) {
    return Tensors.slice(t, 1, part * rows, (part + 1) * rows).contiguous();
  }

  private static void assertSameBits(Tensor actual, Tensor expected) {
    assertEquals(actual.shape(), expected.shape());
    assertTrue(Arrays.equals(Tensors.floats(actual), Tensors.floats(expected)));
  }

  /** The place of a draw, as its definition has it. */
  @Test
  public void aPartsDrawsAreThoseOfTheirGlobalIndices() {
    long seed = random.nextLong();
    StepRandom part = new StepRandom(seed, 7, 5, 3).part(1, 4);
    float[] values = Tensors.floats(Draw.uniform(part, torch.empty(3, 6), LAYER, OPERATION));
    int[] draws = new int[4];
    for (int s = 0; s < 3; s++) {
      for (int e = 0; e < 6; e++) {
        int index = (5 + s) * 6 * 4 + 6 + e;
        Philox.block(seed, index / 4, 7L | (long) LAYER << 32 | (long) OPERATION << 48, draws);
        assertEquals(values[s * 6 + e], Philox.uniform(draws[index % 4]));
      }
    }
  }

  @Test
  public void aPartsGradientIsDroppedAlike() {
    StepRandom whole = new StepRandom(random.nextLong(), 0, 2, 4);
    Tensor upstream = normals(4, 6, 5);
    Tensor x = normals(4, 6, 5).set_requires_grad(true);
    new Dropout(whole, 0.3, LAYER, OPERATION).apply(x).mul(upstream).sum().backward();
    for (int i = 0; i < 3; i++) {
      Tensor own = rows(x.detach(), i, 2).set_requires_grad(true);
      Tensor y = new Dropout(whole.part(i, 3), 0.3, LAYER, OPERATION).apply(own);
      y.mul(rows(upstream, i, 2)).sum().backward();
      assertSameBits(own.grad(), rows(x.grad(), i, 2));
    }
  }

  @Test
  public void aPartOfAPartIsAPartOfTheWhole() {
    StepRandom whole = new StepRandom(random.nextLong(), 4, 1, 2);
    assertEquals(whole.part(1, 2).part(2, 3), whole.part(5, 6));
    assertEquals(whole.part(1, 2).part(0, 3), whole.part(3, 6));
    assertSame(whole.part(0, 1), whole);
    StepRandom half = whole.part(1, 2);
    assertSame(half.part(0, 1), half);
    assertEquals(whole.slice(1, 2).slice(2, 3), whole.slice(5, 6));
    assertSame(whole.slice(0, 1), whole);
    assertThrows(IllegalArgumentException.class, () -> half.slice(0, 2));
    assertThrows(IllegalArgumentException.class, () -> whole.slice(0, 2).part(0, 2));
    for (int[] no : new int[][] {{-1, 2}, {2, 2}, {1, 1}, {0, 0}, {0, -1}}) {
      assertThrows(IllegalArgumentException.class, () -> whole.part(no[0], no[1]));
      assertThrows(
          IllegalArgumentException.class,
          () -> new StepRandom(1, 0, 0, 1, null, no[0], no[1], false));
    }
  }

  /** The moments of N(0, 1) up to the fourth, and tails, each within six standard errors. */
  @Test
  public void normalNumbersAreNormal() {
    int n = 200_000;
    StepRandom numbers = new StepRandom(random.nextLong(), 3, 0, 2);
    float[] draws = Tensors.floats(Draw.normal(numbers, torch.empty(2, n / 2), LAYER, OPERATION));
    double[] moments = new double[5];
    int beyondTwo = 0;
    for (float draw : draws) {
      assertTrue(Math.abs(draw) < 6, "a draw of " + draw);
      for (int i = 1; i < moments.length; i++) {
        moments[i] += Math.pow(draw, i) / n;
      }
      beyondTwo += Math.abs(draw) > 2 ? 1 : 0;
    }
    double error = 6 / Math.sqrt(n);
    assertEquals(moments[1], 0, error);
    assertEquals(moments[2], 1, error * Math.sqrt(2));
    assertEquals(moments[3], 0, error * Math.sqrt(15));
    assertEquals(moments[4], 3, error * Math.sqrt(96));
    assertEquals(beyondTwo / (double) n, 0.0455, error * Math.sqrt(0.0455));
  }

  /** Of seed 1 the first draws that are the least and the largest there are. */
  @Test
  public void theEndsOfTheNormalNumbersAreFinite() {
    Tensor one = torch.empty(1);
    StepRandom least = new StepRandom(1, 0, 41841907, 1);
    StepRandom largest = new StepRandom(1, 0, 25275781, 1);
    assertEquals(Tensors.item(Draw.uniform(least, one, 0, 0)), 0.0);
    assertEquals(Tensors.item(Draw.uniform(largest, one, 0, 0)), 1 - 0x1p-24);
    double end = Tensors.item(Draw.normal(largest, one, 0, 0));
    assertEquals(end, 5.42, 0.01);
    assertEquals(Tensors.item(Draw.normal(least, one, 0, 0)), -end);
  }

  @Test
  public void whatDiffersHasOtherNumbers() {
    long seed = random.nextLong();
    Tensor like = torch.empty(4, 16);
    StepRandom numbers = new StepRandom(seed, 5, 0, 4);
    float[] values = Tensors.floats(Draw.uniform(numbers, like, LAYER, OPERATION));
    assertEquals(Tensors.floats(Draw.uniform(numbers, like, LAYER, OPERATION)), values);
    Tensor[] others = {
      Draw.uniform(numbers, like, LAYER + 1, OPERATION),
      Draw.uniform(numbers, like, LAYER, OPERATION + 1),
      Draw.uniform(numbers, like, OPERATION, LAYER),
      Draw.uniform(new StepRandom(seed, 6, 0, 4), like, LAYER, OPERATION),
      Draw.uniform(new StepRandom(seed + 1, 5, 0, 4), like, LAYER, OPERATION),
      Draw.uniform(new StepRandom(seed, 5, 4, 4), like, LAYER, OPERATION)
    };
    for (Tensor other : others) {
      float[] theirs = Tensors.floats(other);
      int equal = 0;
      for (int i = 0; i < values.length; i++) {
        equal += theirs[i] == values[i] ? 1 : 0;
      }
      assertEquals(equal, 0);
    }
  }

  @Test
  public void theGlobalGeneratorHasNoPart() {
    StepRandom numbers = new StepRandom(1, 1, 0, 2);
    torch.manual_seed(1);
    float[] values = Tensors.floats(Draw.uniform(numbers, torch.empty(2, 8), 0, 0));
    torch.manual_seed(2);
    assertEquals(Tensors.floats(Draw.uniform(numbers, torch.empty(2, 8), 0, 0)), values);
  }

  /** Six standard errors of the share that is kept. */
  @Test
  public void dropoutKeepsItsShareAndScalesIt() {
    for (double p : new double[] {0.1, 0.5, 0.9}) {
      int n = 100_000;
      StepRandom numbers = new StepRandom(random.nextLong(), 0, 0, 2);
      float[] dropped = Tensors.floats(new Dropout(numbers, p, 0, 0).apply(torch.ones(2, n / 2)));
      int kept = 0;
      for (float value : dropped) {
        if (value != 0) {
          kept++;
          assertEquals(value, 1 / (1 - p), 1e-6 / (1 - p));
        }
      }
      assertEquals(kept / (double) n, 1 - p, 6 * Math.sqrt(p * (1 - p) / n));
    }
  }

  @Test
  public void theGradientIsDroppedAlike() {
    StepRandom numbers = new StepRandom(random.nextLong(), 0, 0, 4);
    Tensor x = normals(4, 25).set_requires_grad(true);
    Tensor upstream = normals(4, 25);
    Tensor y = new Dropout(numbers, 0.3, LAYER, OPERATION).apply(x);
    y.mul(upstream).sum().backward();
    float[] out = Tensors.floats(y);
    float[] in = Tensors.floats(x);
    float[] above = Tensors.floats(upstream);
    float[] gradient = Tensors.floats(x.grad());
    int kept = 0;
    for (int i = 0; i < out.length; i++) {
      boolean keep = out[i] != 0;
      kept += keep ? 1 : 0;
      assertEquals(out[i], keep ? in[i] / 0.7f : 0f, 1e-6f * Math.abs(in[i]));
      assertEquals(gradient[i], keep ? above[i] / 0.7f : 0f, 1e-6f * Math.abs(above[i]));
    }
    assertTrue(kept > 0 && kept < out.length);
  }

  @Test
  public void dropoutKeepsTheType() {
    StepRandom numbers = new StepRandom(1, 0, 0, 2);
    Tensor x = normals(2, 50).to(ScalarType.BFloat16);
    Tensor y = new Dropout(numbers, 0.5, LAYER, OPERATION).apply(x);
    assertSame(Tensors.dtype(y), ScalarType.BFloat16);
    assertNotEquals(Tensors.floats(y), Tensors.floats(x));
    assertSame(new Dropout(numbers, 0, LAYER, OPERATION).apply(x), x);
    assertSame(Tensors.dtype(Draw.uniform(numbers, x, LAYER, OPERATION)), ScalarType.Float);
  }

  @Test
  public void whatCannotBeCutIsRefused() {
    StepRandom numbers = new StepRandom(1, 0, 0, 4);
    Tensor x = torch.empty(3, 3);
    assertThrows(IllegalArgumentException.class, () -> Draw.uniform(numbers, x, 0, 0));
    Tensor y = torch.empty(4, 3);
    assertThrows(IllegalArgumentException.class, () -> Draw.uniform(numbers, y, 1 << 16, 0));
    assertThrows(IllegalArgumentException.class, () -> Draw.uniform(numbers, y, 0, -1));
  }

  /** What belongs to all samples is drawn once, whatever a micro-batch has of them. */
  @Test
  public void commonDrawsAreEverySamples() {
    long seed = random.nextLong();
    try (PointerScope scope = new PointerScope()) {
      Tensor like = torch.empty(7, 5);
      float[] whole =
          Tensors.floats(Draw.uniform(new StepRandom(seed, 3, 0, 4).common(), like, 1, 2));
      float[] rest =
          Tensors.floats(Draw.uniform(new StepRandom(seed, 3, 2, 2).common(), like, 1, 2));
      assertEquals(rest, whole);
      assertEquals(
          whole,
          Tensors.floats(Draw.uniform(new StepRandom(seed, 3, 0, 1), like, 1, 2)),
          "the first's");
      float[] next =
          Tensors.floats(Draw.uniform(new StepRandom(seed, 4, 0, 4).common(), like, 1, 2));
      assertNotEquals(next, whole);
    }
  }
}
