package moe4j.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.experts.ExpertMlp;
import moe4j.kernels.experts.RoutedMlp;
import moe4j.kernels.product.GradientSum;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Activation;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Gradients of experts' weights that the products add to the sums themselves, beside those that
 * come through autograd: sums and updates are the same, bit for bit.
 */
public class AddedInPlaceTest {
  private static final int STEPS = 3;
  private static final int MICRO_BATCHES = 3;
  private static final int GROUPS = 4;
  private static final int ROWS = 24;
  private static final int H = 8;
  private static final int F = 16;

  private ParameterSet parameters;
  private AdamW optimizer;
  private Tensor in;
  private Tensor fc1;
  private Tensor fc2;

  @BeforeMethod
  public void open() {
    parameters = Models.parameters(ScalarType.BFloat16);
    ParameterScope root = parameters.root();
    in = root.weight("in.weight", 0.5, H, H);
    fc1 = root.weight("fc1.weight", 0.5, GROUPS, F, H);
    fc2 = root.weight("fc2.weight", 0.5, GROUPS, H, F);
    OptimizerConfig config =
        Flags.parse(OptimizerConfig.class, Refusals.words("--lr 0.01 --clip-grad 0.5"));
    optimizer = new AdamW(parameters, config, MICRO_BATCHES);
  }

  @AfterMethod
  public void close() {
    optimizer.close();
    parameters.close();
  }

  private void reopen() {
    close();
    open();
  }

  private static Random random(int step, int microBatch) {
    return new Random(Seeds.seed() + 31L * step + microBatch);
  }

  private static Tensor normals(Random random, long... shape) {
    return Models.normals(random, shape).to(ScalarType.BFloat16);
  }

  /** Tokens through a dense layer and the experts; the third expert never has a token. */
  private Tensor loss(Random random) {
    int cut = random.nextInt(ROWS / 2);
    Tensor offsets = Tensor.create(cut, ROWS / 2, ROWS / 2, ROWS);
    Tensor weight = normals(random, ROWS).set_requires_grad(true);
    RoutedMlp.Routes routes = new RoutedMlp.Routes(null, null, offsets, weight);
    Tensor x = normals(random, ROWS, H).mm(in);
    ExpertMlp.Weights weights = new ExpertMlp.Weights(fc1, null, fc2, null);
    Tensor y = RoutedMlp.sums(x, routes, weights, Activation.GELU, Dropout.NONE);
    return y.mul(normals(random, ROWS, H)).to(ScalarType.Float).sum();
  }

  /** What only the dense layer has a part in. */
  private Tensor denseLoss(Random random) {
    return normals(random, ROWS, H).mm(in).to(ScalarType.Float).sum();
  }

  /** How micro-batches use the experts. */
  private enum Use {
    ALWAYS,
    NOT_FIRST,
    NOT_LAST,
    NEVER;

    boolean has(int microBatch) {
      return switch (this) {
        case ALWAYS -> true;
        case NOT_FIRST -> microBatch > 0;
        case NOT_LAST -> microBatch < MICRO_BATCHES - 1;
        case NEVER -> false;
      };
    }
  }

  private static List<float[]> floats(List<Tensor> tensors) {
    return tensors.stream().map(Tensors::floats).toList();
  }

  /** Each step's sums and norm, and at last the parameters and their masters. */
  private List<float[]> train(boolean announced, Use use) {
    List<float[]> seen = new ArrayList<>();
    for (int step = 0; step < STEPS; step++) {
      for (int i = 0; i < MICRO_BATCHES; i++) {
        Random random = random(step, i);
        boolean first = i == 0;
        boolean last = i == MICRO_BATCHES - 1;
        // In the first step all experts are used, and sums are left of it.
        boolean experts = step == 0 || use.has(i);
        Scopes.run(
            () -> {
              if (announced) {
                optimizer.beforeForward(first);
              }
              Tensor loss = experts ? loss(random) : denseLoss(random);
              if (announced) {
                optimizer.beforeBackward(last);
              }
              loss.backward();
              CustomFunction.settle();
              assertTrue(in.grad().defined());
              assertEquals(fc1.grad().defined(), experts && !announced);
              assertEquals(fc2.grad().defined(), experts && !announced);
              optimizer.accumulate();
            });
      }
      Scopes.run(() -> seen.addAll(floats(optimizer.gradients())));
      optimizer.step();
      seen.add(Tensors.floats(optimizer.gradientNorm().view(1)));
    }
    Scopes.run(
        () -> {
          seen.addAll(floats(List.of(in, fc1, fc2)));
          optimizer.states().forEach(s -> seen.add(Tensors.floats(s.master())));
        });
    return seen;
  }

  @DataProvider
  public Object[][] uses() {
    return new Object[][] {{Use.ALWAYS}, {Use.NOT_FIRST}, {Use.NOT_LAST}, {Use.NEVER}};
  }

  @Test(dataProvider = "uses")
  public void trainsToTheSameBits(Use use) {
    List<float[]> expected = train(false, use);
    reopen();
    List<float[]> actual = train(true, use);
    assertEquals(actual.size(), expected.size());
    for (int i = 0; i < actual.size(); i++) {
      assertEquals(actual.get(i), expected.get(i), "tensor " + i);
    }
    assertNull(GradientSum.of(fc1));
  }

  private float[] sumOfFc1(Tensor... losses) {
    float[][] sum = new float[1][];
    Scopes.run(
        () -> {
          TensorVector parts = new TensorVector();
          for (Tensor loss : losses) {
            parts.push_back(loss);
          }
          optimizer.beforeBackward(true);
          torch.stack(parts, 0).sum().backward();
          CustomFunction.settle();
          optimizer.accumulate();
          sum[0] = Tensors.floats(optimizer.gradients().get(1));
          optimizer.forgetGradients();
        });
    return sum[0];
  }

  private static float[] added(float[] a, float[] b) {
    float[] sum = new float[a.length];
    for (int i = 0; i < a.length; i++) {
      sum[i] = a[i] + b[i];
    }
    return sum;
  }

  /** Layers may share experts: each use is added by itself. */
  @Test
  public void whatIsUsedTwiceIsAddedTwice() {
    float[] once = sumOfFc1(loss(random(0, 0)));
    float[] again = sumOfFc1(loss(random(0, 1)));
    optimizer.beforeForward(true);
    float[] both = sumOfFc1(loss(random(0, 0)), loss(random(0, 1)));
    assertEquals(both, added(once, again));
  }

  /** A gradient that comes through autograd as well is not lost, nor what it is added to. */
  @Test
  public void whatComesThroughAutogradIsAdded() {
    Tensor factors = normals(random(1, 1), GROUPS, F, H);
    float[] product = sumOfFc1(loss(random(0, 0)));
    float[] other = Tensors.floats(factors.to(ScalarType.Float));
    optimizer.beforeForward(true);
    Tensor penalty = fc1.mul(factors).to(ScalarType.Float).sum();
    assertEquals(sumOfFc1(loss(random(0, 0)), penalty), added(product, other));
  }

  /** What asks for another gradient before the micro-batch's backward adds nothing. */
  @Test
  public void aGradientOfAnInputIsNotAdded() {
    float[] expected = sumOfFc1(loss(random(0, 0)));
    optimizer.beforeForward(true);
    Scopes.run(
        () -> {
          torch.grad(new TensorVector(loss(random(0, 1))), new TensorVector(in));
          CustomFunction.settle();
        });
    assertEquals(sumOfFc1(loss(random(0, 0))), expected);
  }

  @Test
  public void aMicroBatchWhoseBackwardIsNotAnnouncedIsRefused() {
    optimizer.beforeForward(true);
    Scopes.run(() -> loss(random(0, 0)).backward());
    CustomFunction.settle();
    IllegalStateException e = expectThrows(IllegalStateException.class, optimizer::accumulate);
    assertTrue(e.getMessage().contains("without beforeBackward"), e.getMessage());
  }

  /** Without another input that asks for a gradient no backward would come by. */
  @Test
  public void weightsAloneGetTheirGradientsThroughAutograd() {
    optimizer.beforeForward(true);
    Scopes.run(
        () -> {
          Tensor weight = normals(random(0, 0), ROWS);
          Tensor offsets = Tensor.create(1, 2, 3, ROWS);
          RoutedMlp.Routes routes = new RoutedMlp.Routes(null, null, offsets, weight);
          Tensor x = normals(random(0, 1), ROWS, H);
          ExpertMlp.Weights weights = new ExpertMlp.Weights(fc1, null, fc2, null);
          Tensor y = RoutedMlp.sums(x, routes, weights, Activation.GELU, Dropout.NONE);
          optimizer.beforeBackward(true);
          y.sum().backward();
          CustomFunction.settle();
          assertTrue(fc1.grad().defined() && fc2.grad().defined());
          optimizer.accumulate();
          assertFalse(fc1.grad().defined());
          assertTrue(Tensors.item(optimizer.gradients().get(1).abs().sum()) > 0);
        });
  }
}
