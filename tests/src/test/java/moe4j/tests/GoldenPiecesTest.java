package moe4j.tests;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import moe4j.config.Flags;
import moe4j.config.TrainingConfig;
import moe4j.kernels.loss.CrossEntropy;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.LearningRate;
import moe4j.optimizer.OptimizerConfig;
import moe4j.optimizer.OptimizerState;
import moe4j.tensor.Tensors;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Single pieces against PyTorch's and Megatron's values. */
public class GoldenPiecesTest {

  private static Iterator<Object[]> cases(String name) throws IOException {
    List<Object[]> cases = new ArrayList<>();
    Golden.cases(name).forEach(each -> cases.add(new Object[] {each}));
    assertTrue(cases.size() > 1, name);
    return cases.iterator();
  }

  @DataProvider
  public Iterator<Object[]> crossEntropies() throws IOException {
    return cases("cross_entropy");
  }

  @Test(dataProvider = "crossEntropies")
  public void crossEntropyIsPyTorchs(JsonNode golden) {
    boolean bf16 = golden.get("dtype").asText().equals("bfloat16");
    try (PointerScope scope = new PointerScope()) {
      List<Tensor> rows = new ArrayList<>();
      golden.get("logits").forEach(row -> rows.add(Golden.floats(row)));
      Tensor logits =
          torch
              .stack(Tensors.vector(rows))
              .to(bf16 ? ScalarType.BFloat16 : ScalarType.Float)
              .set_requires_grad(true);
      long[] labels = new long[rows.size()];
      Arrays.setAll(labels, i -> golden.get("labels").get(i).asLong());
      Tensor loss = CrossEntropy.loss(logits, Tensors.of(labels));
      double[] expected = Golden.doubles(golden.get("loss_fp32"));
      // Losses of logits around 300 are differences of such: fp32 has 3e-5 there.
      assertClose("loss", Tensors.floats(loss), expected, 1e-5, 1);
      Tensor mean = loss.mean();
      double expectedMean = golden.get("mean_fp32").asDouble();
      assertEquals(Tensors.item(mean), expectedMean, 1e-5 * expectedMean);
      mean.backward();
      for (int i = 0; i < labels.length; i++) {
        // In bf16 both are roundings, which may fall to either side.
        assertClose(
            "gradient of row " + i,
            Tensors.floats(logits.grad().select(0, i)),
            Golden.doubles(golden.get("grad").get(i)),
            bf16 ? 8e-3 : 1e-4,
            1e-2);
      }
    }
  }

  @DataProvider
  public Iterator<Object[]> adamws() throws IOException {
    return cases("adamw");
  }

  @Test(dataProvider = "adamws")
  public void adamwIsPyTorchs(JsonNode golden) {
    OptimizerConfig config =
        Flags.parse(
            OptimizerConfig.class,
            "--lr",
            golden.get("lr").asText(),
            "--adam-beta1",
            golden.get("betas").get(0).asText(),
            "--adam-beta2",
            golden.get("betas").get(1).asText(),
            "--adam-eps",
            golden.get("eps").asText(),
            "--weight-decay",
            golden.get("weight_decay").asText(),
            "--clip-grad",
            "0");
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = new ParameterSet(1, ScalarType.Float, new Device("cpu"))) {
      Tensor parameter = parameters.root().weight("weight", 1, golden.get("param").size());
      set(parameter, golden.get("param"));
      try (AdamW optimizer = new AdamW(parameters, config, 1)) {
        OptimizerState state = optimizer.states().get(0);
        optimizer.setLearningRate(config.lr());
        for (JsonNode step : golden.get("steps")) {
          backward(parameters, List.of(step.get("grad")));
          optimizer.accumulate();
          optimizer.step();
          check("parameter", parameter, step.get("param"));
          check("exp_avg", state.expAvg(), step.get("exp_avg"));
          check("exp_avg_sq", state.expAvgSq(), step.get("exp_avg_sq"));
        }
      }
    }
  }

  @DataProvider
  public Iterator<Object[]> clips() throws IOException {
    return cases("clip_grad_norm");
  }

  /** Without a first moment's memory, that moment is the clipped gradient. */
  @Test(dataProvider = "clips")
  public void clippingIsPyTorchs(JsonNode golden) {
    OptimizerConfig config =
        Flags.parse(
            OptimizerConfig.class,
            "--lr",
            "0",
            "--adam-beta1",
            "0",
            "--clip-grad",
            golden.get("max_norm").asText());
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = new ParameterSet(1, ScalarType.Float, new Device("cpu"))) {
      List<JsonNode> gradients = new ArrayList<>();
      for (JsonNode gradient : golden.get("grads")) {
        parameters.root().weight("weight" + gradients.size(), 1, gradient.size());
        gradients.add(gradient);
      }
      try (AdamW optimizer = new AdamW(parameters, config, 1)) {
        backward(parameters, gradients);
        optimizer.accumulate();
        optimizer.step();
        double norm = golden.get("norm").asDouble();
        assertEquals(Tensors.item(optimizer.gradientNorm()), norm, 1e-6 * norm);
        for (int i = 0; i < gradients.size(); i++) {
          check("clipped", optimizer.states().get(i).expAvg(), golden.get("clipped").get(i));
        }
      }
    }
  }

  private static void set(Tensor parameter, JsonNode values) {
    try (NoGradGuard guard = new NoGradGuard()) {
      parameter.copy_(Golden.floats(values));
    }
  }

  /** A backward whose gradients are these. */
  private static void backward(ParameterSet parameters, List<JsonNode> gradients) {
    Tensor loss = Tensors.full(0, ScalarType.Float, new Device("cpu"));
    for (int i = 0; i < gradients.size(); i++) {
      Parameter parameter = parameters.all().get(i);
      loss = loss.add(parameter.tensor().mul(Golden.floats(gradients.get(i))).sum());
    }
    loss.backward();
  }

  /** Each element within a few roundings of its own. */
  private static void check(String what, Tensor actual, JsonNode expected) {
    float[] values = Tensors.floats(actual);
    double[] wanted = Golden.doubles(expected);
    assertEquals(values.length, wanted.length, what);
    for (int i = 0; i < values.length; i++) {
      assertEquals(values[i], wanted[i], 5e-7 * Math.abs(wanted[i]), what + " " + i);
    }
  }

  @DataProvider
  public Iterator<Object[]> learningRates() throws IOException {
    return cases("learning_rate");
  }

  @Test(dataProvider = "learningRates")
  public void learningRatesAreMegatrons(JsonNode golden) {
    String[] words = (golden.get("flags").asText() + " --micro-batch-size 1").split(" ", -1);
    Flags.Parsed flags = Flags.of(OptimizerConfig.class, TrainingConfig.class).parse(words);
    TrainingConfig training = flags.get(TrainingConfig.class);
    LearningRate rate =
        new LearningRate(
            flags.get(OptimizerConfig.class),
            training.globalBatchSize(),
            training.trainIters(),
            training.trainSamples());
    for (int i = 0; i < golden.get("lr").size(); i++) {
      long samples = golden.get("num_steps").get(i).asLong();
      assertEquals(rate.at(samples), golden.get("lr").get(i).asDouble(), 1e-17, "at " + samples);
    }
  }
}
