package moe4j.moe;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.experts.Experts;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Mlp;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The router and its experts against a loop over tokens and their experts, in fp64. */
public class MoeLayerTest {
  private static final String FC1 = "mlp.experts.linear_fc1.weight";
  private static final String FC2 = "mlp.experts.linear_fc2.weight";
  private static final String ROUTER = "mlp.router.weight";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(MoeLayerTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** A layer of its own, with weights that make choices clear. */
  private final class Layer implements AutoCloseable {
    final GptConfig model;
    final MoeConfig moe;
    final ParameterSet parameters;
    final MoeLayer layer;

    Layer(int h, int f, String flags) {
      this(h, f, flags, ScalarType.Float);
    }

    Layer(int h, int f, String flags, ScalarType dtype) {
      this(h, f, flags, Models.parameters(dtype));
    }

    Layer(int h, int f, String flags, ParameterSet parameters) {
      Flags.Parsed parsed =
          Flags.of(GptConfig.class, MoeConfig.class)
              .parse(
                  Refusals.words(
                      ("--num-layers 1 --num-attention-heads 1 --seq-length 1 --hidden-size %d"
                              + " --moe-ffn-hidden-size %d %s")
                          .formatted(h, f, flags)));
      model = parsed.get(GptConfig.class);
      moe = parsed.get(MoeConfig.class);
      this.parameters = parameters;
      layer = MoeLayer.create(model.layerShape(), moe, 0, parameters.root().child("mlp"));
      Models.randomise(parameters, random, 0.5);
    }

    Tensor parameter(String name) {
      return Models.parameter(parameters, name);
    }

    @Override
    public void close() {
      parameters.close();
    }
  }

  private static Pass training(long samples) {
    return Pass.training(new StepRandom(1, 0, 0, samples));
  }

  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {
      // experts, k, batch, sequence, h, f, flags
      {1, 1, 1, 1, 8, 8, ""},
      {1, 1, 2, 3, 8, 12, "--swiglu"},
      {2, 1, 1, 5, 8, 8, "--moe-router-pre-softmax"},
      {2, 2, 1, 1, 8, 20, ""},
      {3, 2, 3, 7, 12, 4, "--swiglu"},
      {3, 3, 1, 11, 16, 8, "--swiglu --moe-router-pre-softmax"},
      {4, 2, 2, 8, 32, 24, "--swiglu"},
      {5, 4, 1, 13, 20, 28, ""},
      {8, 1, 1, 9, 8, 8, "--swiglu --moe-router-pre-softmax"},
      {8, 2, 1, 1, 8, 8, "--swiglu"},
      {8, 8, 2, 3, 12, 8, "--swiglu"},
      {16, 2, 1, 3, 8, 16, "--swiglu"},
      {16, 5, 3, 5, 8, 4, "--moe-router-pre-softmax"},
      {16, 16, 1, 2, 8, 4, ""},
      {3, 2, 1, 5, 9, 7, "--swiglu"},
      {4, 2, 2, 13, 10, 7, ""},
      {4, 2, 1, 40, 12, 18, "--swiglu"},
    };
  }

  @Test(dataProvider = "shapes")
  public void isTheLoopOverTokens(
      int experts, int k, int batch, int sequence, int h, int f, String flags) {
    double balance = 0.3;
    double z = 0.05;
    String line =
        "--num-experts %d --moe-router-topk %d --moe-aux-loss-coeff %s --moe-z-loss-coeff %s %s"
            .formatted(experts, k, balance, z, flags);
    try (Layer layer = new Layer(h, f, line.strip())) {
      Tensor x = clear(layer, batch, sequence, h).set_requires_grad(true);
      Tensor upstream = Models.normals(random, batch, sequence, h);
      Pass pass = training(batch);
      Tensor y = layer.layer.forward(x, pass);
      assertEquals(y.shape(), x.shape());
      Tensor total = y.mul(upstream).sum();
      for (Pass.SideLoss loss : pass.losses()) {
        total = total.add(loss.value().mul(new Scalar(loss.coefficient())));
      }
      total.backward();

      Loop loop = new Loop(layer, x);
      Tensor exact = loop.forward();
      Tensor exactTotal = exact.mul(upstream.to(ScalarType.Double)).sum();
      exactTotal
          .add(loop.balance.mul(new Scalar(balance)))
          .add(loop.z.mul(new Scalar(z)))
          .backward();

      assertNear("output", y, exact);
      assertNear("input's gradient", x.grad(), loop.x.grad());
      assertNear("router's gradient", layer.parameter(ROUTER).grad(), loop.router.grad());
      assertNear("first gradient", layer.parameter(FC1).grad(), loop.fc1.grad());
      assertNear("second gradient", layer.parameter(FC2).grad(), loop.fc2.grad());
      assertEquals(pass.losses().size(), 2);
      for (Pass.SideLoss loss : pass.losses()) {
        boolean balanceLoss = loss.name().equals("load_balancing_loss");
        assertEquals(loss.name(), balanceLoss ? "load_balancing_loss" : "z_loss");
        assertEquals(loss.coefficient(), balanceLoss ? balance : z);
        assertNear(loss.name(), loss.value(), balanceLoss ? loop.balance : loop.z);
      }
      assertEquals(pass.loads().size(), 1);
      assertEquals(Tensors.longs(pass.loads().get(0).tokens()), loop.load);
      assertEquals(pass.loads().get(0).routed(), (long) batch * sequence * k);
      for (int e = 0; e < experts; e++) {
        if (loop.load[e] == 0) {
          for (String name : new String[] {FC1, FC2}) {
            float[] idle = Tensors.floats(layer.parameter(name).grad().select(0, e));
            assertEquals(idle, new float[idle.length], "expert " + e);
          }
        }
      }
    }
  }

  private static void assertNear(String what, Tensor actual, Tensor expected) {
    assertEquals(actual.shape(), expected.shape());
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), 2e-5, 1e-2);
  }

  /** Tokens none of whose choices is so narrow that rounding could make another. */
  private Tensor clear(Layer layer, long batch, long sequence, int h) {
    Tensor router = layer.parameter(ROUTER).detach().to(ScalarType.Double);
    while (true) {
      Tensor x = Models.normals(random, batch, sequence, h);
      Tensor logits = x.to(ScalarType.Double).view(-1, h).mm(router.t());
      Tensor sorted = logits.sort(1, true).get0();
      Tensor gaps =
          Tensors.slice(sorted, 1, 0, sorted.size(1) - 1)
              .sub(Tensors.slice(sorted, 1, 1, sorted.size(1)));
      if (gaps.numel() == 0 || Tensors.item(gaps.min()) > 1e-5) {
        return x;
      }
    }
  }

  /** The layer once more, token by token and expert by expert. */
  private static final class Loop {
    final Layer layer;
    final Tensor x;
    final Tensor router;
    final Tensor fc1;
    final Tensor fc2;
    final long[] load;
    Tensor balance;
    Tensor z;

    Loop(Layer layer, Tensor x) {
      this.layer = layer;
      this.x = exact(x);
      this.router = exact(layer.parameter(ROUTER));
      this.fc1 = exact(layer.parameter(FC1));
      this.fc2 = exact(layer.parameter(FC2));
      this.load = new long[layer.moe.numExperts()];
    }

    static Tensor exact(Tensor t) {
      return t.detach().to(ScalarType.Double).set_requires_grad(true);
    }

    Tensor forward() {
      int experts = layer.moe.numExperts();
      int k = layer.moe.moeRouterTopk();
      Tensor tokens = x.flatten(0, -2);
      long count = tokens.size(0);
      TensorVector outputs = new TensorVector();
      TensorVector logSums = new TensorVector();
      Tensor mass = torch.zeros(new long[] {experts}, tokens.options());
      for (int t = 0; t < count; t++) {
        Tensor token = tokens.select(0, t);
        Tensor logits = router.mv(token);
        Tensor powers = logits.exp();
        logSums.push_back(powers.sum().log());
        Tensor probabilities = powers.div(powers.sum());
        mass = mass.add(probabilities);
        int[] chosen = largest(logits, k);
        Tensor chosenPower = torch.zeros(new long[0], tokens.options());
        for (int e : chosen) {
          chosenPower = chosenPower.add(powers.select(0, e));
        }
        Tensor output = torch.zeros_like(token);
        for (int e : chosen) {
          load[e]++;
          Tensor weight =
              layer.moe.moeRouterPreSoftmax()
                  ? probabilities.select(0, e)
                  : powers.select(0, e).div(chosenPower);
          output = output.add(expert(e, token).mul(weight));
        }
        outputs.push_back(output);
      }
      Tensor product = torch.zeros(new long[0], tokens.options());
      for (int e = 0; e < experts; e++) {
        product = product.add(mass.select(0, e).mul(new Scalar((double) load[e])));
      }
      balance = product.mul(new Scalar(experts / (double) (k * count * count)));
      z = torch.stack(logSums).square().mean();
      return torch.stack(outputs).view(x.shape());
    }

    Tensor expert(int e, Tensor token) {
      Tensor inner = fc1.select(0, e).mv(token);
      if (layer.model.swiglu()) {
        long f = inner.size(0) / 2;
        Tensor gate = Tensors.slice(inner, 0, 0, f);
        inner = gate.mul(gate.sigmoid()).mul(Tensors.slice(inner, 0, f, 2 * f));
      } else {
        Tensor half = inner.mul(new Scalar(0.5));
        inner = half.add(half.mul(inner.div(new Scalar(Math.sqrt(2))).erf()));
      }
      return fc2.select(0, e).mv(inner);
    }

    static int[] largest(Tensor logits, int k) {
      float[] values = Tensors.floats(logits);
      Integer[] order = new Integer[values.length];
      Arrays.setAll(order, i -> i);
      Arrays.sort(order, (a, b) -> Float.compare(values[b], values[a]));
      return Arrays.stream(order).limit(k).mapToInt(i -> i).toArray();
    }
  }

  /** Weights that add up to one, of outputs that are the same, are the dense layer. */
  @Test
  public void equalExpertsAreTheDenseLayer() {
    int h = 16;
    int f = 12;
    for (String line :
        new String[] {
          "--disable-bias-linear",
          "--disable-bias-linear --swiglu",
          "--add-expert-bias",
          "--add-expert-bias --relu"
        }) {
      String denseFlags = line.replace("--add-expert-bias", "").strip();
      try (Layer layer = new Layer(h, f, "--num-experts 6 --moe-router-topk 3 " + line);
          ParameterSet parameters = Models.parameters(ScalarType.Float)) {
        GptConfig config =
            Models.config(
                ("--num-layers 1 --num-attention-heads 1 --seq-length 1"
                        + " --hidden-size %d --ffn-hidden-size %d %s")
                    .formatted(h, f, denseFlags)
                    .strip());
        Mlp dense = new Mlp(config.layerShape(), 0, parameters.root());
        Models.randomise(parameters, random, 0.5);
        try (NoGradGuard guard = new NoGradGuard()) {
          for (Parameter parameter : parameters.all()) {
            layer
                .parameter("mlp.experts." + parameter.name())
                .copy_(parameter.tensor().unsqueeze(0));
          }
        }
        Tensor x = Models.normals(random, 2, 9, h).set_requires_grad(true);
        Tensor other = x.detach().clone().set_requires_grad(true);
        Tensor upstream = Models.normals(random, 2, 9, h);
        Tensor y = layer.layer.forward(x, Pass.evaluation());
        Tensor expected = dense.forward(other, Pass.evaluation());
        assertNear("output", y, expected);
        y.mul(upstream).sum().backward();
        expected.mul(upstream).sum().backward();
        for (Parameter parameter : parameters.all()) {
          Tensor gradient = layer.parameter("mlp.experts." + parameter.name()).grad();
          assertNear(parameter.name(), gradient.sum(0), parameter.tensor().grad());
        }
        assertNear("input's gradient", x.grad(), other.grad());
        float[] router = Tensors.floats(layer.parameter(ROUTER).grad());
        assertClose("router's gradient", router, new double[router.length], 1e-4, 1);
      }
    }
  }

  @Test
  public void evaluationIsTheSameFunctionWithoutLosses() {
    String flags =
        "--num-experts 4 --moe-router-topk 2 --moe-aux-loss-coeff 0.1 --moe-z-loss-coeff 0.1";
    for (String softmax : new String[] {"", " --moe-router-pre-softmax"}) {
      try (Layer layer = new Layer(8, 8, flags + softmax)) {
        Tensor x = Models.normals(random, 2, 5, 8);
        Pass evaluation = Pass.evaluation();
        float[] y = Tensors.floats(layer.layer.forward(x, evaluation));
        assertEquals(Tensors.floats(layer.layer.forward(x, training(2))), y);
        assertEquals(evaluation.losses().size(), 0);
        assertEquals(evaluation.loads().size(), 1);
      }
    }
  }

  /** Multiples of 8, as a GPU's grouped products want them, and sizes a CPU takes as well. */
  @DataProvider
  public Object[][] bf16Sizes() {
    return new Object[][] {
      {16, 16, "--swiglu"},
      {10, 8, ""},
      {8, 12, "--swiglu"},
      {12, 10, "--swiglu"},
      {9, 7, ""},
      {7, 1, "--swiglu"},
    };
  }

  @Test(dataProvider = "bf16Sizes")
  public void bf16IsNear(int h, int f, String activation) {
    String flags = ("--num-experts 4 --moe-router-topk 2 " + activation).strip();
    try (Layer layer = new Layer(h, f, flags, ScalarType.BFloat16)) {
      Tensor x = Models.normals(random, 2, 9, h).to(ScalarType.BFloat16);
      Tensor clear = clear(layer, 2, 9, h).to(ScalarType.BFloat16).set_requires_grad(true);
      assertSame(Tensors.dtype(layer.layer.forward(x, Pass.evaluation())), ScalarType.BFloat16);
      Tensor y = layer.layer.forward(clear, Pass.evaluation());
      Tensor upstream = Models.normals(random, 2, 9, h).to(ScalarType.BFloat16);
      y.mul(upstream).sum().backward();
      Loop loop = new Loop(layer, clear);
      Tensor exact = loop.forward();
      exact.mul(upstream.to(ScalarType.Double)).sum().backward();
      assertBf16("output", y, exact);
      assertBf16("input's gradient", clear.grad(), loop.x.grad());
      assertBf16("router's gradient", layer.parameter(ROUTER).grad(), loop.router.grad());
      assertBf16("first gradient", layer.parameter(FC1).grad(), loop.fc1.grad());
      assertBf16("second gradient", layer.parameter(FC2).grad(), loop.fc2.grad());
    }
  }

  private static void assertBf16(String what, Tensor actual, Tensor expected) {
    assertSame(Tensors.dtype(actual), ScalarType.BFloat16);
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), 3e-2, 1e-2);
  }

  @DataProvider
  public Object[][] refusals() {
    return new Object[][] {
      {ScalarType.BFloat16, 10, 8, "bf16 need multiples of 8"},
      {ScalarType.BFloat16, 8, 12, "bf16 need multiples of 8"},
      {ScalarType.Float, 8, 6, "fp32 need multiples of 4"},
    };
  }

  /** The meta device stands for any that is not the CPU. */
  @Test(dataProvider = "refusals")
  public void sizesThatGroupedProductsCannotTakeAreRefused(
      ScalarType type, int h, int f, String need) {
    String flags = "--num-experts 4 --moe-router-topk 2";
    try (ParameterSet parameters = new ParameterSet(1, type, new Device("meta"))) {
      String message =
          expectThrows(IllegalArgumentException.class, () -> new Layer(h, f, flags, parameters))
              .getMessage();
      assertEquals(
          message,
          "a hidden size of %d and --moe-ffn-hidden-size %d: experts in %s".formatted(h, f, need));
    }
  }

  /** A gate, dispatcher and experts of one's own make a layer too. */
  @Test
  public void partsCanBeExchanged() {
    Gate first =
        (hidden, pass) -> {
          long tokens = hidden.size(0);
          Tensor expert = torch.zeros(new long[] {tokens, 1}, Tensors.of(new long[0]).options());
          return Routing.ofChoices(expert, torch.ones(tokens, 1), 2);
        };
    Experts doubling = (dispatched, pass) -> dispatched.rows().mul(new Scalar(2));
    MoeLayer layer = new MoeLayer(7, first, TokenDispatcher.local(), doubling);
    Tensor x = Models.normals(random, 2, 3, 4);
    Pass pass = Pass.evaluation();
    assertEquals(Tensors.floats(layer.forward(x, pass)), Tensors.floats(x.add(x)));
    assertEquals(pass.loads().get(0).layer(), 7);
    assertEquals(Tensors.longs(pass.loads().get(0).tokens()), new long[] {6, 0});
    assertTrue(pass.losses().isEmpty());
  }
}
