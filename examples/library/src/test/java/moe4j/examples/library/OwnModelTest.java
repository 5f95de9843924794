package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.List;
import java.util.Random;
import moe4j.moe.MoeLayer;
import moe4j.moe.MoeLayerBuilder;
import moe4j.moe.gate.Quota;
import moe4j.moe.gate.RouterConfig;
import moe4j.moe.gate.RouterConfig.Score;
import moe4j.moe.gate.SwitchGate;
import moe4j.moe.gate.TopKRouter;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A model of one's own learns, with experts and gates of every kind. */
public class OwnModelTest {
  private static final int FEATURES = 8;
  private static final int CLASSES = 3;
  private static final int ROWS = 512;

  private ParameterSet parameters;
  private Tensor x;
  private Tensor labels;

  @BeforeMethod
  public void open() {
    parameters = Testing.parameters();
    draw(Seeds.random(OwnModelTest.class));
  }

  @AfterMethod
  public void close() {
    parameters.close();
    x.close();
    labels.close();
  }

  /** Which of three features is the largest, or in half of the space the smallest. */
  private void draw(Random random) {
    float[] values = Seeds.normals(random, ROWS * FEATURES);
    long[] classes = new long[ROWS];
    for (int t = 0; t < ROWS; t++) {
      int at = t * FEATURES;
      float sign = values[at + 5] > 0 ? 1 : -1;
      for (int c = 1; c < CLASSES; c++) {
        if (sign * values[at + c] > sign * values[at + (int) classes[t]]) {
          classes[t] = c;
        }
      }
    }
    x = Scopes.keep(() -> Tensors.of(values, ROWS, FEATURES));
    labels = Scopes.keep(() -> Tensors.of(classes));
  }

  @Test
  public void theModelIsWhatItSays() {
    OwnModel model = new OwnModel(FEATURES, CLASSES, parameters.root());
    assertEquals(
        parameters.all().stream().map(Parameter::name).toList(),
        List.of(
            "in.weight",
            "in.bias",
            "moe.router.weight",
            "moe.experts.linear_fc1.weight",
            "moe.experts.linear_fc2.weight",
            "out.weight",
            "out.bias"));
    Scopes.run(
        () -> {
          Pass pass = Pass.evaluation();
          assertEquals(model.forward(x, pass).shape(), new long[] {ROWS, CLASSES});
          assertEquals(pass.loads().get(0).routed(), 2L * ROWS);
        });
    // Uniform guesses cost ln 3.
    assertEquals(loss(model), Math.log(CLASSES), 0.3);
  }

  private double loss(OwnModel model) {
    double[] loss = new double[1];
    Scopes.run(() -> loss[0] = Tensors.item(model.loss(x, labels, Pass.evaluation())));
    return loss[0];
  }

  @DataProvider
  public Object[][] layers() {
    MoeLayerBuilder usual = MoeLayer.builder(OwnModel.HIDDEN, 4).initMethodStd(0.1);
    MoeLayerBuilder gated = MoeLayer.builder(OwnModel.HIDDEN, 4).initMethodStd(0.1);
    MoeLayerBuilder switched = MoeLayer.builder(OwnModel.HIDDEN, 4).initMethodStd(0.1);
    MoeLayerBuilder biased = MoeLayer.builder(OwnModel.HIDDEN, 4).initMethodStd(0.1);
    RouterConfig byBias = RouterConfig.plain().withScore(Score.SIGMOID).withExpertBias(1e-3);
    return new Object[][] {
      {"usual", usual},
      {"own gate", gated.gate(OwnGate::new)},
      {"switch", switched.topk(1).gate((s, p) -> new SwitchGate(s, Quota.DEFAULT, p))},
      {"bias", biased.gate((s, p) -> new TopKRouter(s, byBias, null, p))},
      {"own experts", OwnExpert.alike(OwnModel.HIDDEN, 32, 4)},
      {"padded", OwnExpert.padded(OwnModel.HIDDEN, 32, 4)},
    };
  }

  @Test(dataProvider = "layers")
  public void itLearns(String name, MoeLayerBuilder layer) {
    OwnModel model = new OwnModel(FEATURES, CLASSES, layer, parameters.root());
    model.train(parameters, x, labels, 40);
    // A linear function does not do much better than ln 3.
    assertTrue(loss(model) < 0.6, name + ": loss " + loss(model));
  }

  @Test
  public void stepsLeaveNothingBehind() {
    OwnModel model = new OwnModel(FEATURES, CLASSES, parameters.root());
    model.train(parameters, x, labels, 3);
    long before = Scopes.livePointers();
    model.train(parameters, x, labels, 10);
    long after = Scopes.livePointers();
    assertTrue(after - before < 10, "live pointers: %d and %d".formatted(before, after));
  }
}
