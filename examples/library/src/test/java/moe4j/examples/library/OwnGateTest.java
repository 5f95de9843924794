package moe4j.examples.library;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptModel;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.OptimizerConfig;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Batch;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** The cosine gate against its formula in fp64, and in a model that flags describe. */
public class OwnGateTest {
  private static final int TOKENS = 40;
  private static final int HIDDEN = 12;
  private static final int EXPERTS = 6;
  private static final int TOPK = 2;

  private Random random;
  private PointerScope scope;
  private ParameterSet parameters;
  private Gate gate;
  private Tensor x;

  @BeforeMethod
  public void open() {
    random = Seeds.random(OwnGateTest.class);
    scope = new PointerScope();
    parameters = Testing.parameters();
    Gate.Shape shape = new Gate.Shape(3, HIDDEN, EXPERTS, TOPK, 0.02, 0.25);
    gate = new OwnGate.Factory().create(shape, parameters.root());
    Testing.randomise(parameters, random);
    x = Testing.normals(random, TOKENS, HIDDEN).set_requires_grad(true);
  }

  @AfterMethod
  public void close() {
    parameters.close();
    scope.close();
  }

  /** The formula, in fp64. */
  private final class Exact {
    final Tensor input = Testing.exact(x);
    final Tensor projection = Testing.exact(parameters, "projection");
    final Tensor embeddings = Testing.exact(parameters, "embeddings");
    final Tensor logTemperature = Testing.exact(parameters, "log_temperature");
    final Tensor probabilities;

    Exact() {
      Tensor own = input.mm(projection.t());
      long[] each = {1};
      Tensor products = own.mm(embeddings.t());
      Tensor lengths = length(own).unsqueeze(1).mul(length(embeddings).unsqueeze(0));
      Tensor logits = products.div(lengths).div(logTemperature.exp().mul(new Scalar(0.3)));
      Tensor powers = logits.exp();
      probabilities =
          powers.div(powers.sum(each, true, new org.bytedeco.pytorch.ScalarTypeOptional()));
    }

    private Tensor length(Tensor rows) {
      return rows.square().sum(1).sqrt();
    }
  }

  /** The experts that tokens go to: int64 [T, k], in the order of the choices. */
  private static Tensor chosen(Routing routing) {
    long[] slots = Tensors.longs(routing.slot());
    long[] ends = Tensors.longs(routing.offsets());
    long[] experts = new long[slots.length];
    for (int i = 0; i < slots.length; i++) {
      while (ends[(int) experts[i]] <= slots[i]) {
        experts[i]++;
      }
    }
    return Tensors.of(experts, routing.slot().shape());
  }

  @Test
  public void tokensGoWhereTheFormulaSays() {
    Pass pass = Pass.evaluation();
    Routing routing = gate.route(x, pass);
    assertEquals(pass.losses(), List.of());
    assertEquals(pass.figures(), List.of());
    float[] probabilities = Tensors.floats(new Exact().probabilities);
    long[] chosen = Tensors.longs(chosen(routing));
    for (int t = 0; t < TOKENS; t++) {
      float[] row = Arrays.copyOfRange(probabilities, t * EXPERTS, (t + 1) * EXPERTS);
      float[] sorted = row.clone();
      Arrays.sort(sorted);
      for (int j = 0; j < TOPK; j++) {
        // Of two that are as good as equal rounding may choose either.
        assertEquals(row[(int) chosen[t * TOPK + j]], sorted[EXPERTS - 1 - j], 1e-5);
      }
      assertNotEquals(chosen[t * TOPK], chosen[t * TOPK + 1]);
    }
  }

  @Test
  public void weightsLossAndGradientsAreTheFormulas() {
    Pass pass = Testing.training(0);
    Routing routing = gate.route(x, pass);
    Tensor chosen = chosen(routing);
    Tensor weights = routing.weight().index_select(0, routing.slot().flatten());
    Tensor upstream = Testing.normals(random, (long) TOKENS * TOPK);
    Pass.SideLoss loss = pass.losses().get(0);
    assertEquals(loss.name(), OwnGate.LOSS);
    assertEquals(loss.layer(), 3);
    assertEquals(loss.coefficient(), 0.25);
    weights.mul(upstream).sum().add(loss.value()).backward();

    Exact exact = new Exact();
    Tensor exactWeights = exact.probabilities.gather(1, chosen).flatten();
    long[] counts = new long[EXPERTS];
    for (long e : Tensors.longs(chosen)) {
      counts[(int) e]++;
    }
    Tensor balance =
        exact
            .probabilities
            .sum(0)
            .mul(Tensors.of(counts).to(ScalarType.Double))
            .sum()
            .mul(new Scalar(EXPERTS / (double) (TOPK * TOKENS * TOKENS)));
    exactWeights.mul(upstream.to(ScalarType.Double)).sum().add(balance).backward();

    assertNear("weights", weights, exactWeights);
    assertNear("loss", loss.value(), balance);
    assertNear("input's gradient", x.grad(), exact.input.grad());
    assertGradient("projection", exact.projection);
    assertGradient("embeddings", exact.embeddings);
    assertGradient("log_temperature", exact.logTemperature);

    Pass.Figure temperature = pass.figures().get(0);
    assertEquals(temperature.name(), OwnGate.TEMPERATURE);
    assertFalse(temperature.value().requires_grad());
    double expected = 0.3 * Math.exp(Tensors.item(exact.logTemperature));
    assertEquals(Tensors.item(temperature.value()), expected, 1e-5 * expected);
  }

  private void assertGradient(String name, Tensor exact) {
    Tensor gradient = Testing.parameter(parameters, name).grad();
    assertTrue(Tensors.item(gradient.norm()) > 0, name);
    assertClose(name, Tensors.floats(gradient), Tensors.floats(exact.grad()), 1e-4, 1);
  }

  private static void assertNear(String what, Tensor actual, Tensor expected) {
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), 1e-4, 1e-2);
  }

  /** The same numbers in the same step, others in another, none in evaluation. */
  @Test
  public void noiseIsTheSteps() {
    Tensor close = Testing.normals(random, 400, HIDDEN);
    long[] first = Tensors.longs(gate.route(close, Testing.training(5)).token());
    assertEquals(Tensors.longs(gate.route(close, Testing.training(5)).token()), first);
    assertNotEquals(Tensors.longs(gate.route(close, Testing.training(6)).token()), first);
    long[] without = Tensors.longs(gate.route(close, Pass.evaluation()).token());
    assertEquals(Tensors.longs(gate.route(close, Pass.evaluation()).token()), without);
    assertNotEquals(without, first);
  }

  /** As {@code ./moe4j pretrain-gpt} makes it. */
  @Test
  public void aCommandLineNamesIt() {
    GptConfig model =
        Flags.parse(
            GptConfig.class,
            "--num-layers 2 --hidden-size 16 --num-attention-heads 2 --seq-length 8".split(" "));
    MoeConfig moe =
        MoeConfig.parse(
            ("--num-experts 4 --moe-ffn-hidden-size 16 --balance-loss-weight 0.02"
                    + " --balance-strategy moe4j.examples.library.OwnGate$Factory")
                .split(" "));
    assertEquals(moe.warnings(), List.of());
    GptModel gpt = new GptModel(model, 16, Moe.feedForward(model.layerShape(), moe), parameters);
    Tensor router =
        Testing.parameter(parameters, "decoder.layers.1.mlp.router.log_temperature").clone();
    // Each token tells the next.
    Tensor tokens = Tensors.of(random.longs(64, 0, 8).toArray(), 8, 8);
    Tensor labels = tokens.mul(new Scalar(2)).remainder(new Scalar(7));
    Batch batch = new Batch(tokens, labels, torch.ones(8, 8), null, null);
    OptimizerConfig config = Flags.parse(OptimizerConfig.class, "--lr", "0.01");
    double[] losses = new double[40];
    try (AdamW optimizer = new AdamW(parameters, config, 1)) {
      optimizer.setLearningRate(config.lr());
      for (int i = 0; i < losses.length; i++) {
        try (PointerScope step = new PointerScope()) {
          Pass pass = Pass.training(new StepRandom(1, i, 0, 8));
          Tensor loss = gpt.loss(batch, pass).mean();
          Tensor total = loss;
          assertEquals(pass.losses().size(), 2);
          for (Pass.SideLoss side : pass.losses()) {
            assertEquals(side.name(), OwnGate.LOSS);
            assertEquals(side.coefficient(), 0.01);
            total = total.add(side.value().mul(new Scalar(side.coefficient())));
          }
          total.backward();
          optimizer.accumulate();
          optimizer.step();
          losses[i] = Tensors.item(loss);
        }
      }
    }
    assertTrue(losses[39] < 0.3 * losses[0], "from %s to %s".formatted(losses[0], losses[39]));
    assertNotEquals(
        Tensors.item(Testing.parameter(parameters, "decoder.layers.1.mlp.router.log_temperature")),
        Tensors.item(router));
  }
}
