package moe4j.kernels.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class MomentTest {
  private static final int SIZE = 5 * Moment.BLOCK + 77;
  private static final Moment.Keyed KEYED = new Moment.Keyed(5, 16);

  private Random random;

  @BeforeMethod
  public void open() {
    random = Seeds.random(MomentTest.class);
  }

  @DataProvider
  public Object[][] kinds() {
    return new Object[][] {
      {MomentType.FP32, false},
      {MomentType.BF16, false},
      {MomentType.BF16, true},
      {MomentType.FP8, false},
      {MomentType.FP8, true},
    };
  }

  /** Of many sizes: a block whose numbers are zero, one with small ones, one with large ones. */
  private float[] values(boolean square) {
    float[] values = Seeds.normals(random, SIZE);
    for (int i = 0; i < SIZE; i++) {
      double size = i / Moment.BLOCK == 1 ? 0 : Math.pow(10, i / Moment.BLOCK * 9 - 20);
      values[i] = (float) (values[i] * size * Math.pow(10, -3 * random.nextDouble()));
      values[i] = square ? Math.abs(values[i]) : values[i];
    }
    return values;
  }

  private static void with(
      MomentType type, boolean square, java.util.function.Consumer<Moment> body) {
    Scopes.run(
        () -> {
          try (Moment moment = new Moment(type, square, Tensors.of(new float[SIZE], SIZE))) {
            body.accept(moment);
          }
        });
  }

  /** What was rounded is not rounded again, neither by other draws nor to the nearest. */
  @Test(dataProvider = "kinds")
  public void whatIsKeptStaysWhenItIsReadAndWritten(MomentType type, boolean square) {
    float[] values = values(square);
    with(
        type,
        square,
        moment -> {
          moment.write(Tensors.of(values, SIZE), KEYED, 3);
          float[] kept = Tensors.floats(moment.read());
          moment.write(moment.read(), KEYED, 4);
          assertEquals(Tensors.floats(moment.read()), kept);
          moment.write(Tensors.of(kept, SIZE));
          assertEquals(Tensors.floats(moment.read()), kept);
          Tensor part = moment.read(300, 700);
          assertEquals(Tensors.floats(part), java.util.Arrays.copyOfRange(kept, 300, 700));
        });
  }

  /** To one of the two neighbours, and on average to the number itself. */
  @Test(dataProvider = "kinds")
  public void theMeanOfManyDrawsIsTheNumber(MomentType type, boolean square) {
    float[] values = values(square);
    double step = type == MomentType.FP32 ? 0 : type == MomentType.BF16 ? 0x1p-7 : 0x1p-3;
    int rounds = 400;
    with(
        type,
        square,
        moment -> {
          double[] mean = new double[SIZE];
          for (int round = 0; round < rounds; round++) {
            moment.write(Tensors.of(values, SIZE), KEYED, round);
            float[] kept = Tensors.floats(moment.read());
            for (int i = 0; i < SIZE; i++) {
              mean[i] += kept[i] / (double) rounds;
            }
          }
          for (int block = 0; block * Moment.BLOCK < SIZE; block++) {
            int from = block * Moment.BLOCK;
            int to = Math.min(SIZE, from + Moment.BLOCK);
            double largest = 0;
            for (int i = from; i < to; i++) {
              largest = Math.max(largest, Math.abs(values[i]));
            }
            for (int i = from; i < to; i++) {
              // Six standard deviations of a draw; the largest code of a block may be exceeded.
              double least = type == MomentType.FP8 ? largest * 0x1p-16 : 0;
              double size = Math.abs(values[i]) + least;
              double bound = 6 * size * step / 2 / Math.sqrt(rounds);
              double top = Math.abs(values[i]) > largest * 0.9 ? largest * step / 2 : 0;
              assertEquals(mean[i], values[i], bound + top + 1e-12 * size, "element " + i);
            }
          }
        });
  }

  /** The update divides by its root. */
  @Test
  public void aSecondMomentInEightBitsIsNotZeroBesideAnother() {
    float[] values = new float[SIZE];
    values[3] = 1;
    values[SIZE - 1] = 1e-30f;
    with(
        MomentType.FP8,
        true,
        moment -> {
          moment.write(Tensors.of(values, SIZE), KEYED, 1);
          float[] kept = Tensors.floats(moment.read());
          assertEquals(kept[3], 1f);
          for (int i = 0; i < SIZE; i++) {
            boolean beside = i < Moment.BLOCK || i >= 5 * Moment.BLOCK;
            assertEquals(kept[i] > 0, beside, "element " + i);
          }
        });
  }

  /** An eighth of a number at most in 8 bits, and half of that to the nearest. */
  @Test
  public void theNearestIsNear() {
    float[] values = Seeds.normals(random, SIZE);
    for (boolean square : new boolean[] {false, true}) {
      float[] used = values.clone();
      for (int i = 0; i < SIZE; i++) {
        used[i] = square ? values[i] * values[i] : values[i];
      }
      with(
          MomentType.FP8,
          square,
          moment -> {
            moment.write(Tensors.of(used, SIZE));
            float[] kept = Tensors.floats(moment.read());
            Close.assertClose("kept", kept, Close.doubles(used), 0.0625, 1e-4);
          });
    }
  }

  /** The draws of an element are those of its index, wherever a tensor of moments begins. */
  @Test
  public void drawsGoByTheIndex() {
    float[] values = Seeds.normals(random, SIZE);
    with(
        MomentType.BF16,
        false,
        moment -> {
          moment.write(Tensors.of(values, SIZE), KEYED, 7);
          float[] all = Tensors.floats(moment.read());
          int from = 512;
          float[] part = java.util.Arrays.copyOfRange(values, from, SIZE);
          try (Moment other = new Moment(MomentType.BF16, false, Tensors.of(part, part.length))) {
            other.write(
                Tensors.of(part, part.length),
                new Moment.Keyed(KEYED.key(), KEYED.first() + from),
                7);
            assertEquals(
                Tensors.floats(other.read()), java.util.Arrays.copyOfRange(all, from, SIZE));
            other.write(Tensors.of(part, part.length), KEYED, 7);
            assertTrue(
                !java.util.Arrays.equals(
                    Tensors.floats(other.read()), java.util.Arrays.copyOfRange(all, from, SIZE)));
          }
        });
  }
}
