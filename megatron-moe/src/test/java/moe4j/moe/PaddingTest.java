package moe4j.moe;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.IntStream;
import moe4j.kernels.experts.TopK;
import moe4j.moe.gate.Balance;
import moe4j.moe.gate.Capacity;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.RealTokens;
import moe4j.moe.gate.RouterLinear;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Padding is nobody's: a layer that is told of it leaves what it leaves where the padding is not
 * there at all. What it leaves without padding is other tests' to say.
 */
public class PaddingTest {
  private static final int H = 8;
  private static final String SIGMOID = "--moe-router-score-function sigmoid ";
  private static final String ALL_LOSSES =
      "--moe-router-load-balancing-type aux_loss seq_aux_loss global_aux_loss"
          + " --moe-aux-loss-coeff 0.3 0.2 0.1 --moe-z-loss-coeff 0.05 ";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(PaddingTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** What is left by a layer. */
  @SuppressWarnings("ArrayRecordComponent") // values: nobody compares two records
  private record Left(
      float[] output,
      float[] inputGradient,
      Map<String, float[]> gradients,
      Map<String, Double> losses,
      long[] load,
      long asked,
      float[] bias) {}

  @DataProvider
  public Object[][] gates() {
    return new Object[][] {
      {ALL_LOSSES},
      {ALL_LOSSES + "--moe-router-pre-softmax --moe-expert-capacity-factor 0.7"},
      {"--moe-expert-capacity-factor 0.6 --moe-token-drop-policy position --moe-aux-loss-coeff 1"},
      {"--moe-expert-capacity-factor 0.8 --moe-pad-expert-input-to-capacity"},
      {
        "--moe-expert-capacity-factor 0.8 --moe-pad-expert-input-to-capacity"
            + " --moe-token-drop-policy position"
      },
      {SIGMOID + "--moe-router-enable-expert-bias " + ALL_LOSSES},
      {SIGMOID + "--moe-router-enable-expert-bias --moe-expert-capacity-factor 0.6"},
      {SIGMOID + "--moe-router-num-groups 2 --moe-router-group-topk 1 " + ALL_LOSSES},
      {"--moe-router-score-function sqrtsoftplus --moe-input-jitter-eps 0.1 " + ALL_LOSSES},
      {"--moe-router-force-load-balancing " + ALL_LOSSES},
      {"--moe-shared-expert-intermediate-size 5 --add-expert-bias --moe-aux-loss-coeff 1"},
      {"--balance-strategy naive --add-expert-bias"},
      {"--balance-strategy noisy"},
      {"--balance-strategy noisy --top-k 4"},
      {"--balance-strategy gshard"},
      {"--balance-strategy gshard --moe-expert-capacity-factor 0.5"},
      {"--balance-strategy gshard --moe-pad-expert-input-to-capacity"},
      {"--balance-strategy switch --top-k 1"},
      {"--balance-strategy switch --top-k 1 --moe-expert-capacity-factor 0.5"},
      {"--balance-strategy quantile --top-k 3"},
      {"--balance-strategy swipe --top-k 3"},
      {"--balance-strategy swipe --top-k 1"},
      {"--balance-strategy expert_choice"},
      {"--balance-strategy expert_choice --moe-expert-capacity-factor 0.6"},
      {"--balance-strategy moe4j.moe.PaddingTest$Aware --balance-loss-weight 0.5"},
    };
  }

  /** Behind a sample's tokens, where random draws are the same as without it. */
  @Test(dataProvider = "gates")
  public void paddingIsNobodys(String flags) {
    for (int more : new int[] {0, 1, 27}) {
      int tokens = 3 + random.nextInt(17);
      Tensor x = Models.normals(random, 1, tokens + more, H);
      Tensor upstream = Models.normals(random, 1, tokens + more, H);
      int[] real = IntStream.range(0, tokens).toArray();
      compare(flags, x, upstream, real, 1);
    }
  }

  @DataProvider
  public Object[][] drawless() {
    return new Object[][] {
      {ALL_LOSSES},
      {ALL_LOSSES + "--moe-router-pre-softmax --moe-expert-capacity-factor 0.7"},
      {SIGMOID + "--moe-router-enable-expert-bias --moe-expert-capacity-factor 0.6"},
      {"--moe-expert-capacity-factor 0.8 --moe-pad-expert-input-to-capacity"},
      {"--balance-strategy naive"},
      {"--balance-strategy swipe --top-k 2"},
      {"--balance-strategy quantile"},
      {"--balance-strategy expert_choice"},
    };
  }

  /** In front of three samples' tokens, behind them and among them, more of it than of them. */
  @Test(dataProvider = "drawless")
  public void itIsNobodysWhereverItStands(String flags) {
    int samples = 3;
    int sequence = 13;
    int each = 1 + random.nextInt(6);
    int[] real =
        IntStream.range(0, samples)
            .flatMap(
                s ->
                    random
                        .ints(0, sequence)
                        .distinct()
                        .limit(each)
                        .sorted()
                        .map(at -> s * sequence + at))
            .toArray();
    Tensor x = Models.normals(random, samples, sequence, H);
    Tensor upstream = Models.normals(random, samples, sequence, H);
    compare(flags, x, upstream, real, samples);
  }

  private void compare(String flags, Tensor x, Tensor upstream, int[] real, int samples) {
    String words = "--num-experts 4 " + flags.strip();
    long width = x.size(0) * x.size(1);
    long[] nobodys = new long[(int) width];
    Arrays.fill(nobodys, 1);
    IntStream.of(real).forEach(t -> nobodys[t] = 0);
    Tensor index = Tensors.of(IntStream.of(real).asLongStream().toArray());
    try (TestLayer layer = TestLayer.of(random, words)) {
      for (boolean training : new boolean[] {true, false}) {
        Tensor few = x.view(-1, H).index_select(0, index).view(samples, -1, H);
        Tensor fewUp = upstream.view(-1, H).index_select(0, index).view(samples, -1, H);
        Pass alone = pass(training, samples);
        Left expected = run(layer, few, fewUp, alone, null, training);
        Tensor mask = Tensors.of(nobodys).to(ScalarType.Bool);
        Pass padded = pass(training, samples).padded(mask.view(x.size(0), x.size(1)));
        Left actual = run(layer, x, upstream, padded, index, training);
        String what = words + (training ? " in training" : "");
        close(what + ": output", actual.output, expected.output);
        close(what + ": input's gradient", actual.inputGradient, expected.inputGradient);
        for (String name : expected.gradients.keySet()) {
          if (!name.contains("shared")) {
            close(what + ": " + name, actual.gradients.get(name), expected.gradients.get(name));
          }
        }
        assertEquals(actual.losses.keySet(), expected.losses.keySet());
        expected.losses.forEach(
            (name, loss) ->
                assertEquals(
                    actual.losses.get(name),
                    loss,
                    2e-5 * Math.max(1, Math.abs(loss)),
                    what + name));
        assertEquals(actual.load, expected.load, what);
        assertEquals(actual.asked, expected.asked, what);
        assertEquals(actual.bias, expected.bias, what);
      }
    }
  }

  private static void close(String what, float[] actual, float[] expected) {
    assertClose(what, actual, expected, 1e-4, 1e-2);
  }

  private static Pass pass(boolean training, int samples) {
    return training ? Pass.training(new StepRandom(11, 0, 0, samples)) : Pass.evaluation();
  }

  /**
   * One way through the layer and back, and a step's end.
   *
   * @param real the tokens to compare, or null for all; no gradient may reach the others
   */
  private static Left run(
      TestLayer layer, Tensor values, Tensor upstream, Pass pass, Tensor real, boolean training) {
    layer.forgetGradients();
    boolean biased = layer.parameters.buffers().stream().anyMatch(b -> b.name().contains("bias"));
    try (NoGradGuard guard = new NoGradGuard()) {
      layer.parameters.buffers().forEach(b -> b.tensor().zero_());
    }
    Tensor x = values.detach().clone().set_requires_grad(true);
    Tensor y = layer.layer.forward(x, pass).view(-1, H);
    Tensor up = upstream.view(-1, H);
    Tensor all = real == null ? y.mul(up) : y.index_select(0, real).mul(up.index_select(0, real));
    pass.total(all.sum()).backward();
    Tensor gradient = x.grad().view(-1, H);
    if (real != null) {
      Tensor others = gradient.clone();
      others.index_fill_(0, real, new Scalar(0));
      assertEquals(Tensors.item(others.abs().sum()), 0.0, "a gradient of padding");
    }
    Map<String, float[]> gradients = new TreeMap<>();
    for (Parameter p : layer.parameters.all()) {
      Tensor own = p.tensor().grad();
      gradients.put(p.name(), own.defined() ? Tensors.floats(own) : new float[] {0});
    }
    Map<String, Double> losses = new TreeMap<>();
    pass.losses().forEach(l -> losses.put(l.name(), Tensors.item(l.value())));
    pass.figures().forEach(f -> losses.put(f.name(), Tensors.item(f.value())));
    try (NoGradGuard guard = new NoGradGuard()) {
      layer.parameters.endStep(Tensors.zeros(ScalarType.Float, new Device("cpu")));
    }
    Pass.ExpertLoad load = pass.loads().get(0);
    long unasked = load.unasked() == null ? 0 : Tensors.longs(load.unasked())[0];
    return new Left(
        Tensors.floats(real == null ? y : y.index_select(0, real)),
        Tensors.floats(real == null ? gradient : gradient.index_select(0, real)),
        gradients,
        losses,
        Tensors.longs(load.tokens()),
        load.routed() - unasked,
        training && biased ? Tensors.floats(layer.buffer("mlp.router.expert_bias")) : null);
  }

  /** A gate of one's own that leaves padding out. */
  public static final class Aware implements Gate.Factory {
    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      RouterLinear linear = new RouterLinear(shape, false, parameters);
      return (hidden, pass) -> {
        Tensor probabilities = linear.logits(hidden, pass).softmax(1);
        RealTokens real = RealTokens.of(hidden.size(0), pass);
        TopK top = TopK.of(probabilities, shape.topk());
        Tensor chosen = real.choices(top.indices());
        if (pass.isTraining()) {
          Tensor counts = Balance.counts(chosen, shape.experts());
          Tensor loss = Balance.switchLoss(probabilities, counts, shape.topk(), real);
          pass.addLoss(new Pass.SideLoss("aware", shape.layer(), loss, shape.lossWeight()));
        }
        return new Capacity(0.7, Capacity.Policy.PROBS, false)
            .route(chosen, top.values(), shape.experts(), real);
      };
    }
  }

  /** Of a gate that knows nothing of padding the routes of padding are none all the same. */
  @Test
  public void aGateNeedNotKnow() {
    String flags = "--num-experts 4 --balance-strategy moe4j.moe.UserGate";
    try (TestLayer layer = TestLayer.of(random, flags)) {
      Tensor x = Models.normals(random, 1, 5, H);
      Pass pass =
          Pass.evaluation().padded(Tensors.of(new long[] {1, 0, 0, 1, 0}).to(ScalarType.Bool));
      Tensor y = layer.layer.forward(x, pass).view(-1, H);
      assertEquals(Tensors.floats(y.select(0, 0)), new float[H]);
      assertEquals(Tensors.floats(y.select(0, 3)), new float[H]);
      Pass.ExpertLoad load = pass.loads().get(0);
      assertEquals(Tensors.longs(load.tokens().sum())[0], 6L);
      assertEquals(load.routed() - Tensors.longs(load.unasked())[0], 6L);
    }
  }

  /** A rank whose micro-batch is padding and nothing else: no load, and numbers that are finite. */
  @Test(dataProvider = "gates")
  public void nothingButPadding(String flags) {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 4 " + flags.strip())) {
      Tensor x = Models.normals(random, 1, 6, H).set_requires_grad(true);
      Tensor all = Tensors.of(new long[] {1, 1, 1, 1, 1, 1}).to(ScalarType.Bool);
      Pass pass = pass(true, 1).padded(all);
      Tensor y = layer.layer.forward(x, pass);
      pass.total(y.sum()).backward();
      assertEquals(Tensors.item(pass.loads().get(0).tokens().sum()), 0.0);
      pass.losses().forEach(l -> assertEquals(Tensors.item(l.value()), 0.0, 1e-3, l.name()));
      for (Parameter p : layer.parameters.all()) {
        if (!p.name().contains("shared") && p.tensor().grad().defined()) {
          assertEquals(Tensors.item(p.tensor().grad().abs().sum()), 0.0, p.name());
        }
      }
    }
  }

  @Test
  public void paddingIsToldOfEveryToken() {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 4")) {
      Tensor x = Models.normals(random, 1, 5, H);
      Pass pass = Pass.evaluation().padded(Tensors.of(new long[] {1, 0}).to(ScalarType.Bool));
      String sentence =
          expectThrows(IllegalArgumentException.class, () -> layer.layer.forward(x, pass))
              .getMessage();
      assertEquals(
          sentence, "the pass says of 2 tokens whether they are padding, but 5 are routed");
    }
  }

  /** With a mask beside it, neither's tokens are routed. */
  @Test
  public void aMaskAndPadding() {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 4 --moe-aux-loss-coeff 1")) {
      Tensor x = Models.normals(random, 1, 6, H);
      Pass both =
          pass(true, 1).padded(Tensors.of(new long[] {0, 0, 0, 0, 1, 1}).to(ScalarType.Bool));
      TokenMask mask = new TokenMask(Tensors.of(new long[] {0, 0, 0, 1, 0, 1}), Map.of());
      layer.layer.forward(x, mask, both);
      Pass alone = pass(true, 1);
      layer.layer.forward(x.narrow(1, 0, 3), alone);
      assertEquals(
          Tensors.longs(both.loads().get(0).tokens()),
          Tensors.longs(alone.loads().get(0).tokens()));
      double loss = Tensors.item(alone.losses().get(0).value());
      assertEquals(Tensors.item(both.losses().get(0).value()), loss, 1e-5);
    }
  }
}
