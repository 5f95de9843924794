package moe4j.moe;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;

import java.util.Random;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.experts.Expert;
import moe4j.moe.experts.Experts;
import moe4j.moe.experts.GroupedMlp;
import moe4j.moe.experts.ModuleExperts;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Activation;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A user's gate may say -1: the route adds exactly nothing, and has no part in any gradient. */
public class DroppedRoutesTest {
  private static final int EXPERTS = 4;
  private static final int H = 8;
  private static final int F = 6;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(DroppedRoutesTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  public Object[][] cases() {
    return new Object[][] {
      // tokens, k, one in so many dropped, capacity, modules
      {17, 3, 2, 0, false},
      {17, 3, 2, 0, true},
      {17, 3, 2, 17, false},
      {17, 3, 2, 3, true},
      {5, 2, 1, 0, false},
      {5, 2, 1, 0, true},
      {5, 2, 1, 2, false},
      {5, 2, 1, 2, true},
      {1, 1, 1, 0, false},
    };
  }

  /** The fp64 loop over choices, of experts {@code relu(x A) B + b}. */
  @Test(dataProvider = "cases")
  public void addNothing(int tokens, int k, int dropped, int capacity, boolean modules) {
    long[] expert = new long[tokens * k];
    for (int i = 0; i < expert.length; i++) {
      expert[i] = random.nextInt(dropped) == 0 ? -1 : (i * 3 + i / k) % EXPERTS;
    }
    try (ParameterSet parameters = Models.parameters(ScalarType.Float)) {
      Experts grouped =
          new GroupedMlp(
              new GroupedMlp.Shape(EXPERTS, H, F, Activation.RELU, true, 1, 1), parameters.root());
      Models.randomise(parameters, random, 0.5);
      Experts experts = modules ? modules(parameters) : grouped;
      Tensor x = Models.normals(random, tokens, H).set_requires_grad(true);
      Tensor weight = Models.normals(random, tokens, k).set_requires_grad(true);
      Tensor upstream = Models.normals(random, tokens, H);
      FixedGate gate = new FixedGate(Tensors.of(expert, tokens, k), weight, EXPERTS, capacity);
      Pass pass = Pass.evaluation();
      Tensor y = new MoeLayer(0, gate, TokenDispatcher.local(), experts).forward(x, pass);
      y.mul(upstream).sum().backward();

      int[] taken = new int[EXPERTS];
      Tensor[] exact = new Tensor[parameters.all().size()];
      for (int i = 0; i < exact.length; i++) {
        exact[i] = exact(parameters.all().get(i).tensor());
      }
      Tensor exactX = exact(x);
      Tensor exactWeight = exact(weight);
      Tensor total = exactX.sum().add(exactWeight.sum()).mul(new Scalar(0));
      for (Tensor t : exact) {
        total = total.add(t.sum().mul(new Scalar(0)));
      }
      float[] values = Tensors.floats(y);
      for (int t = 0; t < tokens; t++) {
        Tensor output = exactX.select(0, t).mul(new Scalar(0));
        boolean any = false;
        for (int j = 0; j < k; j++) {
          int e = (int) expert[t * k + j];
          if (e >= 0 && (capacity == 0 || taken[e] < capacity)) {
            taken[e]++;
            any = true;
            Tensor one = mlp(exact, e, exactX.select(0, t));
            output = output.add(one.mul(exactWeight.select(0, t).select(0, j)));
          } else {
            expert[t * k + j] = -1;
          }
        }
        total = total.add(output.mul(upstream.select(0, t).to(ScalarType.Double)).sum());
        float[] own = java.util.Arrays.copyOfRange(values, t * H, t * H + H);
        assertClose("token " + t, own, Tensors.floats(output), 1e-4, any ? 1e-2 : 0);
      }
      total.backward();
      near("input's gradient", x, exactX);
      near("weights' gradient", weight, exactWeight);
      float[] weightGradient = gradient(weight);
      for (int i = 0; i < expert.length; i++) {
        if (expert[i] < 0) {
          assertEquals(weightGradient[i], 0f, "choice " + i);
        }
      }
      for (int i = 0; i < exact.length; i++) {
        near(parameters.all().get(i).name(), parameters.all().get(i).tensor(), exact[i]);
      }
      long[] load = Tensors.longs(pass.loads().get(0).tokens());
      assertEquals(load, java.util.Arrays.stream(taken).asLongStream().toArray());
      assertEquals(pass.loads().get(0).routed(), (long) tokens * k);
    }
  }

  private static Tensor exact(Tensor t) {
    return t.detach().to(ScalarType.Double).set_requires_grad(true);
  }

  private static void near(String what, Tensor actual, Tensor expected) {
    // Where nothing was routed at all the gradients are zeros, not nearly so.
    assertClose(what, gradient(actual), Tensors.floats(expected.grad()), 1e-4, 0);
  }

  private static float[] gradient(Tensor t) {
    return t.grad().defined() ? Tensors.floats(t.grad()) : new float[Math.toIntExact(t.numel())];
  }

  /** The parameters are the weights and biases of both layers, in this order. */
  private static Tensor mlp(Tensor[] parameters, int e, Tensor token) {
    Tensor inner = parameters[0].select(0, e).matmul(token).add(parameters[1].select(0, e));
    return parameters[2]
        .select(0, e)
        .matmul(inner.clamp_min(new Scalar(0)))
        .add(parameters[3].select(0, e));
  }

  private static ModuleExperts modules(ParameterSet parameters) {
    Tensor[] all = parameters.all().stream().map(p -> p.tensor()).toArray(Tensor[]::new);
    return ModuleExperts.of(
        EXPERTS,
        (e, own) ->
            Expert.of(
                rows ->
                    rows.mm(all[0].select(0, e).t())
                        .add(all[1].select(0, e))
                        .clamp_min(new Scalar(0))
                        .mm(all[2].select(0, e).t())
                        .add(all[3].select(0, e))),
        parameters.root());
  }
}
