package moe4j.kernels.loss;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class CrossEntropyTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(CrossEntropyTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {
      {1, 1, 1.0}, {1, 2, 1.0}, {5, 7, 3.0}, {33, 128, 1.0}, {64, 1000, 10.0}, {3, 50_000, 2.0},
    };
  }

  /** Rows' losses and gradients, with another upstream gradient for each row. */
  @Test(dataProvider = "shapes")
  public void isTheClosedForm(int rows, int vocabulary, double spread) {
    check(rows, vocabulary, spread, 0, ScalarType.Float, 1e-5);
  }

  /** The loss is taken of what the bf16 logits are; only its gradient is rounded. */
  @Test(dataProvider = "shapes")
  public void bf16LogitsAreTakenAsTheyAre(int rows, int vocabulary, double spread) {
    check(rows, vocabulary, spread, 0, ScalarType.BFloat16, 4e-3);
  }

  @Test
  public void whereAllLogitsAreFarFromZero() {
    check(20, 30, 2, 5000, ScalarType.Float, 1e-5);
    check(20, 30, 2, -5000, ScalarType.Float, 1e-5);
  }

  private void check(
      int rows, int vocabulary, double spread, double shift, ScalarType type, double relative) {
    Tensor logits =
        Tensors.of(Seeds.normals(random, rows * vocabulary), rows, vocabulary)
            .mul(new Scalar(spread))
            .add(new Scalar(shift))
            .to(type)
            .set_requires_grad(true);
    long[] labels = random.longs(rows, 0, vocabulary).toArray();
    float[] upstream = Seeds.normals(random, rows);
    Tensor loss = CrossEntropy.loss(logits, Tensors.of(labels));
    assertSame(Tensors.dtype(loss), ScalarType.Float);
    assertEquals(loss.shape(), new long[] {rows});
    loss.mul(Tensors.of(upstream)).sum().backward();
    assertSame(Tensors.dtype(logits.grad()), type);

    float[] x = Tensors.floats(logits);
    double[] losses = new double[rows];
    double[] gradient = new double[rows * vocabulary];
    for (int r = 0; r < rows; r++) {
      int at = r * vocabulary;
      double max = Double.NEGATIVE_INFINITY;
      for (int j = 0; j < vocabulary; j++) {
        max = Math.max(max, x[at + j]);
      }
      double sum = 0;
      for (int j = 0; j < vocabulary; j++) {
        sum += Math.exp(x[at + j] - max);
      }
      int label = at + (int) labels[r];
      losses[r] = max + Math.log(sum) - x[label];
      for (int j = 0; j < vocabulary; j++) {
        gradient[at + j] = Math.exp(x[at + j] - max) / sum * upstream[r];
      }
      gradient[label] -= upstream[r];
    }
    // A logit of 5000 has a rounding of 2e-4 of its own, which the sum with the rest meets.
    assertClose("loss", Tensors.floats(loss), losses, Math.max(1e-6, Math.abs(shift) * 1e-7), 1);
    assertClose("gradient", Tensors.floats(logits.grad()), gradient, relative, 1e-3);
  }

  /** Logits that overflow when exponentiated, and a label that is as good as certain. */
  @Test
  public void extremeLogits() {
    float[] x = {3e38f, 0, -3e38f, 0, 1e4f, -1e4f, 90, 0, 0};
    Tensor logits = Tensors.of(x, 3, 3).set_requires_grad(true);
    Tensor loss = CrossEntropy.loss(logits, Tensors.of(new long[] {0, 2, 1}));
    assertEquals(Tensors.floats(loss), new float[] {0, 2e4f, 90}, 1e-6f);
    loss.sum().backward();
    assertEquals(Tensors.floats(logits.grad()), new float[] {0, 0, 0, 0, 1, -1, 1, -1, 0}, 1e-6f);
  }

  @Test
  public void aFlatRowLosesTheLogOfTheVocabulary() {
    Tensor loss = CrossEntropy.loss(torch.zeros(2, 1024), Tensors.of(new long[] {0, 1023}));
    for (float value : Tensors.floats(loss)) {
      assertEquals(value, Math.log(1024), 1e-6);
    }
  }

  @Test
  public void nothingIsHidden() {
    Tensor logits = Tensors.of(new float[] {1, Float.NaN, 2, 0, 1, 2}, 2, 3);
    float[] loss = Tensors.floats(CrossEntropy.loss(logits, Tensors.of(new long[] {0, 0})));
    assertTrue(Float.isNaN(loss[0]));
    assertEquals(loss[1], 2 + Math.log(1 + Math.exp(-1) + Math.exp(-2)), 1e-6);
  }

  /** A row that does not count gives no gradient and disturbs no other. */
  @Test
  public void rowsWithoutUpstreamGradient() {
    Tensor logits = Tensors.of(Seeds.normals(random, 12), 3, 4).set_requires_grad(true);
    Tensor loss = CrossEntropy.loss(logits, Tensors.of(new long[] {1, 2, 3}));
    loss.mul(Tensors.of(new float[] {1, 0, 1})).sum().backward();
    assertEquals(Tensors.floats(logits.grad().select(0, 1)), new float[4]);
    assertTrue(Tensors.floats(logits.grad())[1] < 0);
  }

  /** Logits that are spread over ranks come to the whole rows' loss and gradient. */
  @Test(dataProvider = "spread")
  public void partsAreTheWhole(int rows, int vocabulary, int ranks) {
    Tensor logits =
        Tensors.of(Seeds.normals(random, rows * vocabulary), rows, vocabulary)
            .mul(new Scalar(4))
            .set_requires_grad(true);
    long[] drawn = random.longs(rows, 0, vocabulary).toArray();
    drawn[0] = 0;
    drawn[rows - 1] = vocabulary - 1L;
    Tensor labels = Tensors.of(drawn);
    Tensor upstream = Tensors.of(Seeds.normals(random, rows));
    Tensor loss = CrossEntropy.loss(logits, labels);
    loss.mul(upstream).sum().backward();

    int each = vocabulary / ranks;
    TensorVector sums = new TensorVector();
    for (int r = 0; r < ranks; r++) {
      sums.push_back(
          new CrossEntropyPart(r * each, vocabulary)
              .sums(logits.detach().narrow(1, (long) r * each, each), labels));
    }
    Tensor all = torch.stack(sums);
    Tensor logSums = all.select(2, 0).logsumexp(0);
    assertClose(
        "loss",
        Tensors.floats(logSums.sub(all.select(2, 1).sum(0))),
        Tensors.floats(loss),
        1e-6,
        // A small loss is the difference of numbers of the logits' size, and rounded as they are.
        4);
    for (int r = 0; r < ranks; r++) {
      Tensor part = logits.detach().narrow(1, (long) r * each, each);
      assertClose(
          "gradient of rank " + r,
          Tensors.floats(
              new CrossEntropyPart(r * each, vocabulary).gradient(part, labels, logSums, upstream)),
          Tensors.floats(logits.grad().narrow(1, (long) r * each, each)),
          1e-6,
          // Of a certain label p - 1 is left. What is rounded is of the size of the sums'
          // logarithms,
          // which are as large as the logits, times the upstream gradient, however small that is.
          4 * Math.max(1, Tensors.item(upstream.norm())));
    }
  }

  @DataProvider
  public Object[][] spread() {
    return new Object[][] {{2, 2, 2}, {33, 128, 2}, {20, 1000, 4}, {7, 21, 7}};
  }
}
