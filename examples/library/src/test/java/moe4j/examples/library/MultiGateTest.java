package moe4j.examples.library;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** Two tasks over one set of experts. */
public class MultiGateTest {
  private static final int FEATURES = 16;
  private static final int EXPERTS = 4;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(MultiGateTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** What training came to: each test loss as a share of the target's variance. */
  private record Outcome(double first, double second, double gatesBefore, double gatesAfter) {}

  private Outcome train(double correlation) {
    TwoTasks data = new TwoTasks(FEATURES, correlation, random);
    TwoTasks.Rows test = data.draw(1000);
    try (ParameterSet parameters = Testing.parameters()) {
      MultiGate model = new MultiGate(FEATURES, EXPERTS, 2, parameters.root());
      double before = difference(model, test);
      model.train(parameters, data, 128, 250);
      Tensor first = model.loss(0, test.x(), test.y1(), Pass.evaluation()).div(test.y1().var());
      Tensor second = model.loss(1, test.x(), test.y2(), Pass.evaluation()).div(test.y2().var());
      return new Outcome(
          Tensors.item(first), Tensors.item(second), before, difference(model, test));
    }
  }

  /** Noise alone is less than a hundredth of the variance, a constant all of it. */
  @Test
  public void bothTasksAreLearntByGatesThatDiffer() {
    for (double correlation : new double[] {0, 0.9}) {
      Outcome outcome = train(correlation);
      assertTrue(outcome.first() < 0.15 && outcome.second() < 0.15, outcome.toString());
      if (correlation == 0) {
        assertTrue(outcome.gatesBefore() < 0.1, outcome.toString());
        assertTrue(outcome.gatesAfter() > 0.2, outcome.toString());
      }
    }
  }

  /** Half the sum of |g1 - g2| over experts, the mean over rows: 0 where the same, 1 at most. */
  private static double difference(MultiGate model, TwoTasks.Rows rows) {
    Tensor first = model.weights(0, rows.x());
    Tensor second = model.weights(1, rows.x());
    return Tensors.item(first.sub(second).abs().sum(1).mean()) / 2;
  }

  @Test
  public void sharedExpertsGetBothTasksGradients() {
    TwoTasks.Rows rows = new TwoTasks(FEATURES, 0.5, random).draw(50);
    try (ParameterSet parameters = Testing.parameters()) {
      MultiGate model = new MultiGate(FEATURES, EXPERTS, 2, parameters.root());
      Map<String, float[]> first =
          gradients(parameters, model.loss(0, rows.x(), rows.y1(), pass()));
      Map<String, float[]> second =
          gradients(parameters, model.loss(1, rows.x(), rows.y2(), pass()));
      Pass pass = pass();
      Tensor sum = model.loss(0, rows.x(), rows.y1(), pass);
      sum = sum.add(model.loss(1, rows.x(), rows.y2(), pass));
      assertEquals(pass.loads().size(), 2);
      Map<String, float[]> both = gradients(parameters, sum);
      int shared = 0;
      for (Parameter parameter : parameters.all()) {
        String name = parameter.name();
        boolean ofFirst = first.containsKey(name);
        boolean ofSecond = second.containsKey(name);
        assertEquals(ofFirst, !name.startsWith("tasks.1."), name);
        assertEquals(ofSecond, !name.startsWith("tasks.0."), name);
        double[] expected = new double[both.get(name).length];
        for (int i = 0; i < expected.length; i++) {
          expected[i] += ofFirst ? first.get(name)[i] : 0;
          expected[i] += ofSecond ? second.get(name)[i] : 0;
        }
        shared += ofFirst && ofSecond ? 1 : 0;
        assertClose(name, both.get(name), expected, 1e-5, 0.1);
      }
      assertEquals(shared, 4);
    }
  }

  private static Pass pass() {
    return Testing.training(0);
  }

  /** The gradients of all parameters that a loss depends on. */
  private static Map<String, float[]> gradients(ParameterSet parameters, Tensor loss) {
    loss.backward();
    Map<String, float[]> gradients = new HashMap<>();
    for (Parameter parameter : parameters.all()) {
      Tensor gradient = parameter.tensor().grad();
      if (gradient.defined()) {
        gradients.put(parameter.name(), Tensors.floats(gradient));
      }
      parameter.tensor().mutable_grad().reset();
    }
    assertTrue(gradients.size() > 4);
    return gradients;
  }
}
