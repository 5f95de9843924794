package moe4j.optimizer;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class AdamWTest {
  private static final double RATE = 1e-2;

  private Random random;
  private PointerScope scope;

  /** The last first: an optimizer needs its parameters. */
  private final List<AutoCloseable> owned = new ArrayList<>();

  @BeforeMethod
  public void open() {
    random = Seeds.random(AdamWTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() throws Exception {
    scope.close();
    for (AutoCloseable each : owned) {
      each.close();
    }
    owned.clear();
  }

  @DataProvider
  public Object[][] types() {
    return new Object[][] {{ScalarType.Float}, {ScalarType.BFloat16}};
  }

  private static OptimizerConfig config(String flags) {
    return Flags.parse(OptimizerConfig.class, Refusals.words(("--lr 0.01 " + flags).strip()));
  }

  /** A weight, a bias, a norm's gain, and another weight. */
  private ParameterSet parameters(ScalarType dtype) {
    ParameterSet set = Models.parameters(dtype);
    ParameterScope root = set.root();
    root.weight("weight", 1, 6, 5);
    root.bias("bias", 6);
    root.gain("norm.weight", 5);
    root.weight("other.weight", 1, 40);
    Models.randomise(set, random, 1);
    owned.add(0, set);
    return set;
  }

  private AdamW optimizer(ParameterSet parameters, String flags) {
    AdamW optimizer = new AdamW(parameters, config(flags), 1);
    optimizer.setLearningRate(RATE);
    owned.add(0, optimizer);
    return optimizer;
  }

  private List<float[]> normals(ParameterSet parameters, double size) {
    List<float[]> list = new ArrayList<>();
    for (Parameter parameter : parameters.all()) {
      float[] values = Seeds.normals(random, (int) parameter.tensor().numel());
      for (int i = 0; i < values.length; i++) {
        values[i] = (float) (values[i] * size);
      }
      list.add(values);
    }
    return list;
  }

  /** A backward whose gradients are these, then what the training loop does after it. */
  private static void microBatch(ParameterSet parameters, AdamW optimizer, List<float[]> wanted) {
    Scopes.run(
        () -> {
          Tensor loss = null;
          for (int i = 0; i < wanted.size(); i++) {
            Tensor parameter = parameters.all().get(i).tensor();
            if (wanted.get(i) != null) {
              Tensor gradient =
                  Tensors.of(wanted.get(i), parameter.shape()).to(parameter.scalar_type());
              Tensor part = parameter.mul(gradient).sum();
              loss = loss == null ? part : loss.add(part);
            }
          }
          loss.backward();
          optimizer.accumulate();
        });
  }

  private static List<float[]> floats(List<Tensor> tensors) {
    return tensors.stream().map(Tensors::floats).toList();
  }

  private static List<float[]> values(ParameterSet parameters) {
    return floats(parameters.all().stream().map(Parameter::tensor).toList());
  }

  private static List<float[]> state(AdamW optimizer) {
    List<float[]> all = new ArrayList<>();
    for (OptimizerState state : optimizer.states()) {
      all.add(Tensors.floats(state.master()));
      all.add(Tensors.floats(state.expAvg()));
      all.add(Tensors.floats(state.expAvgSq()));
    }
    all.add(Tensors.floats(optimizer.stepCounter()));
    return all;
  }

  private static void assertSameFloats(List<float[]> actual, List<float[]> expected) {
    assertEquals(actual.size(), expected.size());
    for (int i = 0; i < actual.size(); i++) {
      assertEquals(actual.get(i), expected.get(i), "tensor " + i);
    }
  }

  /** Three steps against the equations in fp64: clipping, moments, decay of weights alone. */
  @Test(dataProvider = "types")
  public void stepsAreTheEquations(ScalarType dtype) {
    double decay = 0.1;
    double clip = 2;
    ParameterSet parameters = parameters(dtype);
    AdamW optimizer =
        optimizer(parameters, "--weight-decay 0.1 --adam-beta2 0.95 --clip-grad " + clip);
    List<double[]> exact = new ArrayList<>();
    List<double[]> m = new ArrayList<>();
    List<double[]> v = new ArrayList<>();
    for (float[] values : values(parameters)) {
      exact.add(Close.doubles(values));
      m.add(new double[values.length]);
      v.add(new double[values.length]);
    }
    // The second step's gradients are small: not clipped.
    double[] sizes = {1, 0.01, 3};
    for (int step = 1; step <= 3; step++) {
      microBatch(parameters, optimizer, normals(parameters, sizes[step - 1]));
      List<float[]> gradients = floats(optimizer.gradients());
      optimizer.step();
      double norm = 0;
      for (float[] gradient : gradients) {
        norm += Math.pow(Close.norm(Close.doubles(gradient)), 2);
      }
      norm = Math.sqrt(norm);
      assertEquals(Tensors.item(optimizer.gradientNorm()), norm, 1e-6 * norm);
      double coefficient = Math.min(1, clip / (norm + 1e-6));
      assertEquals(coefficient < 1, step != 2);
      for (int i = 0; i < exact.size(); i++) {
        double[] p = exact.get(i);
        boolean weight = parameters.all().get(i).decay();
        for (int j = 0; j < p.length; j++) {
          double g = gradients.get(i)[j] * coefficient;
          m.get(i)[j] = 0.9 * m.get(i)[j] + 0.1 * g;
          v.get(i)[j] = 0.95 * v.get(i)[j] + 0.05 * g * g;
          p[j] -= RATE * (weight ? decay : 0) * p[j];
          p[j] -=
              RATE
                  * (m.get(i)[j] / (1 - Math.pow(0.9, step)))
                  / (Math.sqrt(v.get(i)[j] / (1 - Math.pow(0.95, step))) + 1e-8);
        }
        OptimizerState state = optimizer.states().get(i);
        assertClose("master", Tensors.floats(state.master()), p, 1e-6, 1);
        assertClose("exp_avg", Tensors.floats(state.expAvg()), m.get(i), 1e-5, 1e-2);
        assertClose("exp_avg_sq", Tensors.floats(state.expAvgSq()), v.get(i), 1e-5, 1e-2);
      }
      assertEquals(Tensors.item(optimizer.stepCounter()), step);
      assertEquals(Tensors.item(optimizer.foundInf()), 0.0);
    }
  }

  @Test(dataProvider = "types")
  public void mastersAreTheParametersWhereThoseAreFp32(ScalarType dtype) {
    ParameterSet parameters = parameters(dtype);
    AdamW optimizer = optimizer(parameters, "");
    boolean own = dtype != ScalarType.Float;
    for (OptimizerState state : optimizer.states()) {
      assertEquals(state.hasMaster(), own);
      long at = state.parameter().tensor().data_ptr().address();
      assertEquals(state.master().data_ptr().address() != at, own);
      assertSame(Tensors.dtype(state.master()), ScalarType.Float);
      assertEquals(Tensors.floats(state.master()), Tensors.floats(state.parameter().tensor()));
      assertFalse(own && state.master().requires_grad());
    }
  }

  /** The bf16 parameter is the master rounded; steps that bf16 cannot see add up in the master. */
  @Test
  public void smallStepsAddUpInMasters() {
    ParameterSet parameters = parameters(ScalarType.BFloat16);
    AdamW optimizer = optimizer(parameters, "--weight-decay 0 --clip-grad 0");
    List<float[]> start = values(parameters);
    optimizer.setLearningRate(1e-5);
    List<float[]> gradients = normals(parameters, 1);
    for (int step = 0; step < 50; step++) {
      microBatch(parameters, optimizer, gradients);
      optimizer.step();
    }
    for (int i = 0; i < start.size(); i++) {
      OptimizerState state = optimizer.states().get(i);
      float[] master = Tensors.floats(state.master());
      // With a gradient that stays, each of Adam's steps is the learning rate.
      double[] expected = Close.doubles(start.get(i));
      for (int j = 0; j < expected.length; j++) {
        expected[j] -= 50 * 1e-5 * Math.signum(gradients.get(i)[j]);
      }
      for (int j = 0; j < expected.length; j++) {
        assertEquals(master[j], expected[j], 1e-5, "element " + j);
      }
      assertEquals(
          Tensors.floats(state.parameter().tensor()),
          Tensors.floats(state.master().to(ScalarType.BFloat16)));
    }
  }

  @Test(dataProvider = "types")
  public void equalMicroBatchesAreOne(ScalarType dtype) {
    ParameterSet one = parameters(dtype);
    ParameterSet other = parameters(dtype);
    try (NoGradGuard guard = new NoGradGuard()) {
      for (int i = 0; i < one.all().size(); i++) {
        other.all().get(i).tensor().copy_(one.all().get(i).tensor());
      }
    }
    AdamW whole = optimizer(one, "");
    AdamW cut = optimizer(other, "");
    for (int step = 0; step < 3; step++) {
      List<float[]> gradients = normals(one, 1);
      List<float[]> eighths = new ArrayList<>();
      for (float[] gradient : gradients) {
        float[] eighth = gradient.clone();
        for (int i = 0; i < eighth.length; i++) {
          eighth[i] /= 8;
        }
        eighths.add(eighth);
      }
      microBatch(one, whole, gradients);
      for (int i = 0; i < 8; i++) {
        microBatch(other, cut, eighths);
      }
      List<Tensor> sums = cut.gradients();
      for (int i = 0; i < sums.size(); i++) {
        assertSame(Tensors.dtype(sums.get(i)), ScalarType.Float);
        assertClose(
            "sum", Tensors.floats(sums.get(i)), Tensors.floats(whole.gradients().get(i)), 1e-6, 1);
      }
      whole.step();
      cut.step();
      List<float[]> expected = state(whole);
      List<float[]> actual = state(cut);
      for (int i = 0; i < expected.size(); i++) {
        assertClose("state " + i, actual.get(i), expected.get(i), 1e-6, 1);
      }
    }
  }

  /** 300 times 1: a sum in bf16 stays at 256. */
  @Test
  public void bf16GradientsAreSummedInFp32() {
    ParameterSet parameters = parameters(ScalarType.BFloat16);
    AdamW optimizer = optimizer(parameters, "");
    List<float[]> ones = new ArrayList<>();
    for (Parameter parameter : parameters.all()) {
      float[] values = new float[(int) parameter.tensor().numel()];
      java.util.Arrays.fill(values, 1);
      ones.add(values);
    }
    for (int i = 0; i < 300; i++) {
      microBatch(parameters, optimizer, ones);
    }
    for (Tensor sum : optimizer.gradients()) {
      for (float value : Tensors.floats(sum)) {
        assertEquals(value, 300f);
      }
    }
  }

  /** Of the two rates the device takes the one for how the last step ended. */
  @Test
  public void theRateIsChosenByTheLastStep() {
    ParameterSet parameters = parameters(ScalarType.Float);
    AdamW optimizer = optimizer(parameters, "--weight-decay 0 --clip-grad 0");
    List<float[]> gradients = normals(parameters, 1);
    List<float[]> bad = new ArrayList<>(gradients);
    bad.set(1, gradients.get(1).clone());
    bad.get(1)[0] = Float.NaN;
    boolean[] skipped = {false, false, true, true, false, false};
    boolean before = false;
    for (boolean skip : skipped) {
      List<float[]> start = values(parameters);
      microBatch(parameters, optimizer, skip ? bad : gradients);
      optimizer.setLearningRates(1e-3, 1e-2);
      optimizer.step();
      double rate = skip ? 0 : before ? 1e-2 : 1e-3;
      for (int i = 0; i < start.size(); i++) {
        // With a gradient that stays, each of Adam's steps is the learning rate.
        double[] expected = Close.doubles(start.get(i));
        for (int j = 0; j < expected.length; j++) {
          expected[j] -= rate * Math.signum(gradients.get(i)[j]);
        }
        assertClose("parameter", values(parameters).get(i), expected, 1e-4 * 1e-2, 1);
      }
      before = skip;
    }
  }

  @Test
  public void onlyWeightsDecay() {
    ParameterSet parameters = parameters(ScalarType.Float);
    AdamW optimizer = optimizer(parameters, "--weight-decay 0.5");
    List<float[]> start = values(parameters);
    List<float[]> zeros = new ArrayList<>();
    start.forEach(values -> zeros.add(new float[values.length]));
    microBatch(parameters, optimizer, zeros);
    optimizer.step();
    List<float[]> end = values(parameters);
    for (int i = 0; i < start.size(); i++) {
      double factor = parameters.all().get(i).name().matches("bias|norm.*") ? 1 : 1 - 0.5 * RATE;
      double[] expected = Close.doubles(start.get(i));
      for (int j = 0; j < expected.length; j++) {
        expected[j] *= factor;
      }
      assertClose(parameters.all().get(i).name(), end.get(i), expected, 1e-6, 1);
    }
  }

  @DataProvider
  public Object[][] faults() {
    return new Object[][] {
      {ScalarType.Float, Float.NaN}, {ScalarType.Float, Float.POSITIVE_INFINITY},
      {ScalarType.BFloat16, Float.NaN}, {ScalarType.BFloat16, Float.NEGATIVE_INFINITY},
    };
  }

  /** A bad step leaves all as it was, and the next is taken as if it had not been. */
  @Test(dataProvider = "faults")
  public void aStepThatIsNotFiniteLeavesNoTrace(ScalarType dtype, float bad) {
    ParameterSet parameters = parameters(dtype);
    AdamW optimizer = optimizer(parameters, "--weight-decay 0.1");
    microBatch(parameters, optimizer, normals(parameters, 1));
    optimizer.step();
    List<float[]> values = values(parameters);
    List<float[]> state = state(optimizer);

    List<float[]> gradients = normals(parameters, 1);
    gradients.get(3)[7] = bad;
    microBatch(parameters, optimizer, normals(parameters, 1));
    microBatch(parameters, optimizer, gradients);
    optimizer.step();
    assertEquals(Tensors.item(optimizer.foundInf()), 1.0);
    assertFalse(Double.isFinite(Tensors.item(optimizer.gradientNorm())));
    assertSameFloats(values(parameters), values);
    assertSameFloats(state(optimizer), state);

    gradients.get(3)[7] = 1;
    microBatch(parameters, optimizer, gradients);
    optimizer.step();
    assertEquals(Tensors.item(optimizer.foundInf()), 0.0);
    assertEquals(Tensors.item(optimizer.stepCounter()), 2.0);
    for (float[] each : values(parameters)) {
      for (float value : each) {
        assertTrue(Float.isFinite(value));
      }
    }
  }

  /** A parameter that the loss does not see, such as an expert's without tokens. */
  @Test(dataProvider = "types")
  public void aParameterWithoutGradientHasAZeroOne(ScalarType dtype) {
    ParameterSet parameters = parameters(dtype);
    AdamW optimizer = optimizer(parameters, "--weight-decay 0");
    float[] before = values(parameters).get(1);
    List<float[]> gradients = normals(parameters, 1);
    gradients.set(1, null);
    microBatch(parameters, optimizer, gradients);
    optimizer.step();
    assertEquals(values(parameters).get(1), before);
    assertEquals(Tensors.floats(optimizer.states().get(1).expAvg()), new float[6]);
    // In another micro-batch it has one.
    microBatch(parameters, optimizer, gradients);
    List<float[]> all = normals(parameters, 1);
    microBatch(parameters, optimizer, all);
    double[] given = Close.doubles(all.get(1));
    assertClose("gradient", Tensors.floats(optimizer.gradients().get(1)), given, 4e-3, 1);
  }

  @Test(dataProvider = "types")
  public void zerosAreCountedWhereAskedFor(ScalarType dtype) {
    ParameterSet parameters = parameters(dtype);
    AdamW optimizer = optimizer(parameters, "");
    optimizer.countZeros();
    List<float[]> gradients = normals(parameters, 1);
    gradients.get(0)[3] = 0;
    gradients.get(0)[4] = 0;
    gradients.get(2)[0] = 0;
    microBatch(parameters, optimizer, gradients);
    optimizer.step();
    assertEquals(Tensors.item(optimizer.gradientZeros()), 3.0);
  }

  @Test(dataProvider = "types")
  public void stepsLeaveNothingBehind(ScalarType dtype) {
    ParameterSet parameters = parameters(dtype);
    AdamW optimizer = optimizer(parameters, "");
    List<float[]> gradients = normals(parameters, 1);
    long before = 0;
    for (int step = 0; step < 6; step++) {
      if (step == 2) {
        before = Scopes.livePointers();
      }
      Scopes.run(() -> microBatch(parameters, optimizer, gradients));
      Scopes.run(() -> microBatch(parameters, optimizer, gradients));
      Scopes.run(optimizer::step);
      Scopes.run(() -> optimizer.setLearningRate(0.1));
    }
    assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
    for (Parameter parameter : parameters.all()) {
      assertFalse(parameter.tensor().grad().defined());
    }
  }

  @DataProvider
  public Object[][] kept() {
    return new Object[][] {
      {ScalarType.Float, ""},
      {ScalarType.BFloat16, ""},
      {ScalarType.BFloat16, "--master-storage remainder"},
      {
        ScalarType.BFloat16,
        "--use-precision-aware-optimizer --exp-avg-dtype bf16 --exp-avg-sq-dtype bf16"
      },
      {
        ScalarType.BFloat16,
        "--use-precision-aware-optimizer --exp-avg-dtype fp8 --exp-avg-sq-dtype fp8"
      },
    };
  }

  /** Several are made in one process: a run's, a comparison's, one a test. */
  @Test(dataProvider = "kept")
  public void aClosedOneLeavesNothingBehind(ScalarType dtype, String flags) {
    ParameterSet parameters = Models.parameters(dtype);
    owned.add(parameters);
    parameters.root().weight("low.weight", 1, 64, 64);
    parameters.root().gain("norm.weight", 5);
    // What the first one makes for good is not counted.
    new AdamW(parameters, config(flags), 1).close();
    long before = Scopes.livePointers();
    for (int i = 0; i < 3; i++) {
      new AdamW(parameters, config(flags), 1).close();
    }
    // Fewer, where Java's collector has come by what other tests left.
    assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
  }

  @Test
  public void clippingCanBeOff() {
    ParameterSet parameters = parameters(ScalarType.Float);
    AdamW optimizer = optimizer(parameters, "--clip-grad 0 --adam-beta1 0");
    List<float[]> gradients = normals(parameters, 1000);
    microBatch(parameters, optimizer, gradients);
    optimizer.step();
    for (int i = 0; i < gradients.size(); i++) {
      assertEquals(Tensors.floats(optimizer.states().get(i).expAvg()), gradients.get(i));
    }
  }
}
