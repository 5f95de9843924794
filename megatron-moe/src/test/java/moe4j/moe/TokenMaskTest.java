package moe4j.moe;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.experts.Expert;
import moe4j.moe.experts.Experts;
import moe4j.moe.experts.ModuleExperts;
import moe4j.moe.gate.ExpertChoiceGate;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Tokens that no expert computes. */
public class TokenMaskTest {
  private static final int H = 8;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(TokenMaskTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  public Object[][] layers() {
    return new Object[][] {
      {""},
      {"--add-expert-bias --swiglu"},
      {"--add-expert-bias --moe-expert-capacity-factor 9 --moe-pad-expert-input-to-capacity"},
      {"--moe-shared-expert-intermediate-size 5 --add-expert-bias"},
      {"--moe-shared-expert-intermediate-size 5 --moe-shared-expert-gate"},
      {"--balance-strategy naive --add-expert-bias"},
    };
  }

  /** Masked tokens get their value's fill, or zeros; the others what they get by themselves. */
  @Test(dataProvider = "layers")
  public void masksAndFills(String flags) {
    int tokens = 14;
    long[] mask = random.longs(tokens, 0, 4).toArray();
    mask[3] = 1;
    mask[5] = 2;
    mask[8] = 3;
    mask[11] = 0;
    Tensor vector = Models.normals(random, H);
    Map<Integer, Tensor> fills = Map.of(1, vector, 2, Tensors.of(new float[] {-2.5f}));
    try (TestLayer layer = TestLayer.of(random, ("--num-experts 4 " + flags).strip())) {
      Tensor x = Models.normals(random, 2, tokens / 2, H).set_requires_grad(true);
      Tensor upstream = Models.normals(random, tokens, H);
      Pass pass = Pass.evaluation();
      Tensor y =
          layer.layer.forward(x, new TokenMask(Tensors.of(mask, 2, tokens / 2), fills), pass);
      y.view(tokens, H).mul(upstream).sum().backward();
      float[][] masked = gradients(layer);
      Tensor inputGradient = x.grad().view(tokens, H);

      List<Long> rest = new ArrayList<>();
      for (int t = 0; t < tokens; t++) {
        float[] own = Tensors.floats(y.view(tokens, H).select(0, t));
        if (mask[t] == 0) {
          rest.add((long) t);
        } else {
          Tensor fill = fills.getOrDefault((int) mask[t], Tensors.of(new float[] {0}));
          assertEquals(own, Tensors.floats(fill.expand(H)), "token " + t);
          assertEquals(Tensors.floats(inputGradient.select(0, t)), new float[H], "token " + t);
        }
      }
      layer.forgetGradients();
      Tensor kept = Tensors.of(rest.stream().mapToLong(t -> t).toArray());
      Tensor few = x.detach().view(tokens, H).index_select(0, kept).set_requires_grad(true);
      Pass alone = Pass.evaluation();
      Tensor expected = layer.layer.forward(few, alone);
      expected.mul(upstream.index_select(0, kept)).sum().backward();
      near("output", y.view(tokens, H).index_select(0, kept), expected);
      near("input's gradient", inputGradient.index_select(0, kept), few.grad());
      float[][] unmasked = gradients(layer);
      for (int p = 0; p < masked.length; p++) {
        assertClose(layer.parameters.all().get(p).name(), masked[p], unmasked[p], 1e-4, 1e-2);
      }
      assertEquals(
          Tensors.longs(pass.loads().get(0).tokens()),
          Tensors.longs(alone.loads().get(0).tokens()));
      Pass.ExpertLoad load = pass.loads().get(0);
      assertEquals(load.routed(), 2L * tokens);
      assertEquals(Tensors.longs(load.unasked())[0], 2L * (tokens - rest.size()));
    }
  }

  private static void near(String what, Tensor actual, Tensor expected) {
    assertEquals(actual.shape(), expected.shape(), what);
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), 1e-4, 1e-2);
  }

  private static float[][] gradients(TestLayer layer) {
    return layer.parameters.all().stream()
        .map(p -> Tensors.floats(p.tensor().grad()))
        .toArray(float[][]::new);
  }

  /** Experts choose among the others. */
  @Test
  public void expertsDoNotChooseMaskedTokens() {
    String flags = "--num-experts 4 --balance-strategy expert_choice --add-expert-bias";
    try (TestLayer layer = TestLayer.of(random, flags)) {
      Tensor x = Models.normals(random, 9, H).set_requires_grad(true);
      long[] mask = {0, 7, 0, 0, 7, 7, 0, 0, 0};
      Tensor rest = Tensors.of(new long[] {0, 2, 3, 6, 7, 8});
      Tensor alone = layer.layer.forward(x.index_select(0, rest), Pass.evaluation());
      Pass pass = Pass.evaluation();
      Tensor y = layer.layer.forward(x, new TokenMask(Tensors.of(mask), Map.of()), pass);
      near("output", y.index_select(0, rest), alone);
      assertEquals(Tensors.longs(pass.loads().get(0).tokens()), new long[] {3, 3, 3, 3});
      y.sum().backward();
      for (int t : new int[] {1, 4, 5}) {
        assertEquals(Tensors.floats(y.select(0, t)), new float[H]);
        assertEquals(Tensors.floats(x.grad().select(0, t)), new float[H]);
      }
    }
  }

  /** The routes of experts that have chosen without the masked tokens'. */
  @Test
  public void chosenTokensAreTakenAway() {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 4")) {
      Tensor x = Models.normals(random, 9, H);
      long[] mask = {0, 7, 0, 0, 7, 7, 0, 0, 0};
      Routing routing =
          new ExpertChoiceGate(Gate.Shape.of(H, 4, 2), 1, layer.parameters.root().child("other"))
              .route(x, Pass.evaluation());
      Routing left = routing.without(new TokenMask(Tensors.of(mask), Map.of()).left());
      long[] tokens = Tensors.longs(routing.token());
      long[] counts = new long[4];
      for (int r = 0; r < tokens.length; r++) {
        counts[r / 5] += mask[(int) tokens[r]] == 0 ? 1 : 0;
      }
      assertEquals(Tensors.longs(left.tokensPerExpert()), counts);
    }
  }

  /** The mask of several outputs, each of a size of its own; a fill is a scalar or fits. */
  @Test
  public void severalOutputsAreFilled() {
    Expert expert =
        (rows, pass) ->
            List.of(rows.get(0), torch.cat(new TensorVector(rows.get(0), rows.get(0)), 1));
    Gate gate =
        new FixedGate(torch.zeros_like(Tensors.of(new long[6], 6, 1)), torch.ones(6, 1), 1, 0);
    MoeLayer layer =
        new MoeLayer(0, gate, TokenDispatcher.local(), new ModuleExperts(List.of(expert)));
    Tensor x = Models.normals(random, 2, 3, 4);
    TokenMask mask =
        new TokenMask(
            Tensors.of(new long[] {0, 5, 0, 0, 6, 0}, 2, 3),
            Map.of(5, Tensors.of(new float[] {9}).select(0, 0)));
    List<Tensor> outputs = layer.forward(List.of(x), mask, Pass.evaluation());
    assertEquals(outputs.get(0).shape(), new long[] {2, 3, 4});
    assertEquals(outputs.get(1).shape(), new long[] {2, 3, 8});
    for (Tensor output : outputs) {
      Tensor rows = output.flatten(0, 1);
      int width = Math.toIntExact(rows.size(1));
      float[] nines = new float[width];
      java.util.Arrays.fill(nines, 9);
      assertEquals(Tensors.floats(rows.select(0, 1)), nines);
      assertEquals(Tensors.floats(rows.select(0, 4)), new float[width]);
      assertEquals(
          Tensors.floats(rows.select(0, 3).narrow(0, 0, 4)),
          Tensors.floats(x.view(6, 4).select(0, 3)));
    }
  }

  @Test
  public void zeroMeansThatATokenIsComputed() {
    String sentence =
        expectThrows(
                IllegalArgumentException.class,
                () -> new TokenMask(torch.zeros(3), Map.of(0, torch.ones(1))))
            .getMessage();
    assertEquals(sentence, "a mask of 0 means that a token is computed: it cannot have a fill");
  }

  @Test
  public void aMaskIsAsLongAsTheTokensAre() {
    Gate gate = new FixedGate(Tensors.of(new long[4], 4, 1), torch.ones(4, 1), 1, 0);
    Experts same = (dispatched, pass) -> dispatched.rows();
    MoeLayer layer = new MoeLayer(0, gate, TokenDispatcher.local(), same);
    TokenMask mask = new TokenMask(Tensors.of(new long[3]), Map.of());
    String sentence =
        expectThrows(
                IllegalArgumentException.class,
                () -> layer.forward(Models.normals(random, 1, 4, 2), mask, Pass.evaluation()))
            .getMessage();
    assertEquals(sentence, "a mask needs a value for each of the 4 tokens, but has 3");
  }
}
