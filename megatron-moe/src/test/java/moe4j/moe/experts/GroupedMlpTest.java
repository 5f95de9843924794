package moe4j.moe.experts;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.kernels.dropout.Draw;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.experts.TokenRouter;
import moe4j.moe.FixedGate;
import moe4j.moe.MoeLayer;
import moe4j.moe.dispatch.Dispatched;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.dispatch.TokenDispatcher.Kind;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.parallel.Layout;
import moe4j.parallel.ThreadRanks;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Activation;
import moe4j.transformer.Models;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Experts with dropout between their layers. */
public final class GroupedMlpTest {
  private static final int LAYER = 2;
  private static final double P = 0.3;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(GroupedMlpTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  public Object[][] experts() {
    List<Object[]> cases = new ArrayList<>();
    for (Activation activation : Activation.values()) {
      for (boolean bias : new boolean[] {false, true}) {
        // tokens, k, h, f, and one choice in so many that is none
        cases.add(new Object[] {activation, bias, 23, 2, 9, 7, 1000});
        cases.add(new Object[] {activation, bias, 40, 3, 8, 12, 4});
        cases.add(new Object[] {activation, bias, 3, 1, 8, 4, 2});
      }
    }
    return cases.toArray(new Object[0][]);
  }

  private static GroupedMlp.Shape shape(int h, int f, Activation activation, boolean bias) {
    return new GroupedMlp.Shape(4, h, f, activation, bias, 1, 1);
  }

  private long[] choices(int tokens, int k, int none) {
    long[] expert = new long[tokens * k];
    for (int i = 0; i < expert.length; i++) {
      expert[i] = random.nextInt(none) == 0 ? -1 : random.nextInt(3);
    }
    return expert;
  }

  /**
   * A route after the other in fp64, by the draws for its place among all, sorted by expert; the
   * last expert has none. The same from tokens to tokens, and in grouped products, where these take
   * such sizes.
   */
  @Test(dataProvider = "experts")
  public void aRouteHasTheDrawsOfItsPlace(
      Activation activation, boolean bias, int tokens, int k, int h, int f, int none) {
    long[] expert = choices(tokens, k, none);
    StepRandom draws = new StepRandom(random.nextLong(), 5, 6, 2);
    try (ParameterSet parameters = Models.parameters(ScalarType.Float)) {
      GroupedMlp experts =
          new GroupedMlp(shape(h, f, activation, bias).withDropout(P, LAYER), parameters.root());
      Models.randomise(parameters, random, 0.5);
      Tensor x = Models.normals(random, tokens, h);
      Tensor weight = Models.normals(random, tokens, k);
      Tensor upstream = Models.normals(random, tokens, h);

      List<Tensor> exact = new ArrayList<>();
      for (Tensor t : leaves(parameters, x, weight)) {
        exact.add(t.detach().to(ScalarType.Double).set_requires_grad(true));
      }
      Tensor expected = loop(exact, expert, k, f, activation, bias, draws);
      expected.mul(upstream.to(ScalarType.Double)).sum().backward();

      List<Experts> ways = new ArrayList<>(List.of(experts, routed(experts)));
      if (h % 4 == 0 && f % 4 == 0) {
        ways.add(inProducts(experts));
      }
      for (Experts used : ways) {
        List<Tensor> leaves = leaves(parameters, x, weight);
        leaves.forEach(t -> t.set_requires_grad(true).mutable_grad().reset());
        Gate gate =
            new FixedGate(Tensors.of(expert, tokens, k), leaves.get(leaves.size() - 1), 4, 0);
        Pass pass = Pass.training(draws);
        Tensor y =
            new MoeLayer(LAYER, gate, TokenDispatcher.local(), used)
                .forward(leaves.get(leaves.size() - 2), pass);
        y.mul(upstream).sum().backward();
        assertNear("output", y, expected);
        for (int i = 0; i < leaves.size(); i++) {
          Tensor gradient = leaves.get(i).grad();
          Tensor wanted = exact.get(i).grad();
          assertNear(
              "gradient of " + i,
              gradient.defined() ? gradient : torch.zeros_like(leaves.get(i)),
              wanted.defined() ? wanted : torch.zeros_like(exact.get(i)));
        }
      }
    }
  }

  private static void assertNear(String what, Tensor actual, Tensor expected) {
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), 1e-4, 1e-2);
  }

  private static Experts inProducts(GroupedMlp experts) {
    return (rows, pass) ->
        experts.products(
            rows.rows(),
            rows.weight(),
            rows.offsets(),
            pass.chance().piece(0).dropout(P, LAYER + 1, Operation.FEED_FORWARD_HIDDEN));
  }

  /** As products of ours are asked, which compute on some GPUs alone; here by their reference. */
  private static Experts routed(GroupedMlp experts) {
    return new Experts() {
      @Override
      public Tensor forward(Dispatched dispatched, Pass pass) {
        throw new AssertionError("rows are not asked for");
      }

      @Override
      public Tensor sum(Dispatched dispatched, Pass pass) {
        return experts.routed(dispatched, null, pass);
      }
    };
  }

  /** The parameters, the input and the weights. */
  private static List<Tensor> leaves(ParameterSet parameters, Tensor x, Tensor weight) {
    List<Tensor> leaves = new ArrayList<>();
    parameters.all().forEach(p -> leaves.add(p.tensor()));
    leaves.add(x.detach().clone());
    leaves.add(weight.detach().clone());
    return leaves;
  }

  private static Tensor loop(
      List<Tensor> leaves,
      long[] expert,
      int k,
      int f,
      Activation activation,
      boolean bias,
      StepRandom draws) {
    Tensor fc1 = leaves.get(0);
    Tensor fc2 = leaves.get(bias ? 2 : 1);
    Tensor x = leaves.get(leaves.size() - 2);
    Tensor weight = leaves.get(leaves.size() - 1).flatten();
    float[] uniform =
        Tensors.floats(
            Draw.uniform(
                draws.shared(),
                torch.empty(expert.length, f),
                LAYER + 1,
                Operation.FEED_FORWARD_HIDDEN.id()));
    Tensor[] sums = new Tensor[expert.length / k];
    for (int t = 0; t < sums.length; t++) {
      sums[t] = x.select(0, t).mul(new Scalar(0));
    }
    int row = 0;
    for (int e = 0; e < 4; e++) {
      for (int i = 0; i < expert.length; i++) {
        if (expert[i] != e) {
          continue;
        }
        Tensor inner = fc1.select(0, e).matmul(x.select(0, i / k));
        inner = bias ? inner.add(leaves.get(1).select(0, e)) : inner;
        float[] keep = new float[f];
        for (int c = 0; c < f; c++) {
          keep[c] = uniform[row * f + c] >= (float) P ? 1 : 0;
        }
        Tensor factors = Tensors.of(keep).to(ScalarType.Double).mul(new Scalar(1 / (1 - P)));
        Tensor activated = activation.apply(inner.unsqueeze(0)).squeeze(0).mul(factors);
        Tensor outer = fc2.select(0, e).matmul(activated);
        outer = bias ? outer.add(leaves.get(3).select(0, e)) : outer;
        sums[i / k] = sums[i / k].add(outer.mul(weight.select(0, i)));
        row++;
      }
    }
    return torch.stack(new TensorVector(sums), 0);
  }

  @Test
  public void anEvaluationDropsNothing() {
    try (ParameterSet parameters = Models.parameters(ScalarType.Float)) {
      GroupedMlp.Shape shape = shape(8, 12, Activation.RELU, true);
      GroupedMlp dropping = new GroupedMlp(shape.withDropout(P, 0), parameters.root().child("a"));
      GroupedMlp plain = new GroupedMlp(shape, parameters.root().child("b"));
      Models.randomise(parameters, random, 0.5);
      int half = parameters.all().size() / 2;
      try (var guard = new org.bytedeco.pytorch.NoGradGuard()) {
        for (int i = 0; i < half; i++) {
          parameters.all().get(half + i).tensor().copy_(parameters.all().get(i).tensor());
        }
      }
      Tensor chosen = Tensors.of(choices(20, 2, 10), 20, 2);
      Gate gate = new FixedGate(chosen, Models.normals(random, 20, 2), 4, 0);
      Tensor x = Models.normals(random, 20, 8);
      Pass training = Pass.training(new StepRandom(1, 2, 0, 4));
      float[] expected = output(gate, plain, x, Pass.evaluation());
      assertEquals(output(gate, dropping, x, Pass.evaluation()), expected);
      assertEquals(output(gate, plain, x, training), expected);
      assertNotEquals(output(gate, dropping, x, training), expected);
    }
    String message =
        expectThrows(
                IllegalArgumentException.class,
                () -> shape(8, 8, Activation.GELU, false).withDropout(1, 0))
            .getMessage();
    assertEquals(message, "experts' dropout of 1.0 is not in [0, 1)");
  }

  private static float[] output(Gate gate, Experts experts, Tensor x, Pass pass) {
    return Tensors.floats(new MoeLayer(0, gate, TokenDispatcher.local(), experts).forward(x, pass));
  }

  @DataProvider
  public Object[][] layouts() {
    return new Object[][] {
      {new Layout(2, 1, 2, 1), Kind.ALL_TO_ALL, 1},
      {new Layout(2, 1, 2, 1), Kind.ALL_TO_ALL, 2},
      {new Layout(2, 1, 2, 1), Kind.ALL_GATHER, 1},
      {new Layout(4, 1, 4, 1), Kind.ALL_TO_ALL, 3},
      {new Layout(4, 2, 2, 1), Kind.ALL_TO_ALL, 1},
      {new Layout(2, 1, 1, 2), Kind.ALL_TO_ALL, 1},
    };
  }

  /** Ranks have unequally many rows, no multiple of the samples; the same draws come again. */
  @Test(dataProvider = "layouts")
  public void ranksDropToo(Layout layout, Kind kind, int overlap) {
    int tokens = 22;
    Tensor x = Models.normals(random, layout.data(), tokens, 8);
    long[] expert = new long[layout.data() * tokens];
    Arrays.setAll(expert, i -> random.nextInt(5) == 0 ? random.nextInt(4) : 1);
    Tensor chosen = Tensors.of(expert, layout.data(), tokens, 1);
    long seed = random.nextLong();
    ThreadRanks.run(
        layout,
        false,
        groups -> {
          try (ParameterSet parameters =
              new ParameterSet(1, ScalarType.Float, new Device("cpu"), groups)) {
            int rank = groups.data().rank();
            Gate gate = new FixedGate(chosen.select(0, rank), torch.ones(tokens, 1), 4, 0);
            MoeLayer layer =
                MoeLayer.builder(8, 4)
                    .topk(1)
                    .expertHiddenSize(12)
                    .activation(Activation.RELU)
                    .expertDropout(P)
                    .initMethodStd(0.5)
                    .gate((shape, own) -> gate)
                    .dispatcher(kind, overlap)
                    .build(parameters.root().child("mlp"));
            float[][] results = new float[4][];
            for (int i = 0; i < results.length; i++) {
              StepRandom draws = new StepRandom(seed, i == 2 ? 1 : 0, 4L * rank, 4);
              Pass pass = i == 3 ? Pass.evaluation() : Pass.training(draws);
              Tensor own = x.select(0, rank).detach().clone().set_requires_grad(true);
              Tensor y = layer.forward(own, pass);
              y.square().sum().backward();
              CustomFunction.settle();
              results[i] = Tensors.floats(y);
              assertTrue(own.grad().defined());
            }
            assertEquals(results[1], results[0]);
            assertNotEquals(results[2], results[0]);
            assertNotEquals(results[3], results[0]);
          }
        });
  }

  /** What comes in parts or to several ranks is of no known place in a whole. */
  @Test
  public void piecesDrawApart() {
    StepRandom draws = new StepRandom(random.nextLong(), 0, 0, 1);
    Tensor like = torch.empty(6, 100);
    float[][] factors = new float[4][];
    for (int piece = 0; piece < factors.length; piece++) {
      Dropout drop =
          Pass.training(draws).chance().piece(piece).dropout(P, 1, Operation.FEED_FORWARD_HIDDEN);
      factors[piece] = Tensors.floats(drop.factors(like));
      for (int other = 0; other < piece; other++) {
        assertNotEquals(factors[piece], factors[other]);
      }
    }
    Dropout shared =
        Pass.training(draws).chance().common().dropout(P, 1, Operation.FEED_FORWARD_HIDDEN);
    assertEquals(factors[0], Tensors.floats(shared.factors(like)));
  }

  /** As a router's kernels hand tokens on, to which the experts' gradient comes back. */
  private static final class HandOn extends CustomFunction {
    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      return new Tensor[] {inputs[0].detach()};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {gradients[0].mul(new Scalar(2))};
    }
  }

  /** A gate may route an alias of the tokens that takes no gradient, or another. */
  @Test
  public void tokensHandedOnAreTakenForTheVeryTensorThatWasRouted() {
    ParameterSet parameters = Models.parameters(ScalarType.Float);
    GroupedMlp.Shape shape = new GroupedMlp.Shape(2, 8, 16, Activation.GELU, false, 0.5, 0.5);
    GroupedMlp experts = new GroupedMlp(shape, parameters.root().child("experts"));
    Tensor expert = Tensor.create(0L, 1L, 1L, 0L, 1L, 0L).view(6, 1);
    Routing routing = Routing.ofChoices(expert, Models.normals(random, 6, 1), 2);
    Tensor values = Models.normals(random, 6, 8);
    List<float[]> gradients = new ArrayList<>();
    for (boolean same : new boolean[] {true, false}) {
      Tensor hidden = values.clone().set_requires_grad(true);
      Tensor routed = same ? hidden : hidden.view_as(hidden);
      Tensor again = new HandOn().apply(routed)[0];
      Routing with =
          new Routing(
              routing.token(),
              routing.weight(),
              routing.offsets(),
              routing.slot(),
              routing.tokensPerExpert(),
              routing.tokens(),
              0,
              new TokenRouter.Source(routed, again));
      Dispatched dispatched = new Dispatched(List.of(hidden), with);
      experts.routed(dispatched, null, Pass.evaluation()).sum().backward();
      CustomFunction.settle();
      gradients.add(Tensors.floats(hidden.grad().mul(new Scalar(same ? 0.5 : 1))));
    }
    assertClose("tokens", gradients.get(0), gradients.get(1), 1e-6, 1e-6);
    parameters.close();
  }
}
