package moe4j.moe.experts;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.FixedGate;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeLayer;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.gate.Gate;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Mlp;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
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

/** Experts that are modules of one's own. */
public class ModuleExpertsTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(ModuleExpertsTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private static void assertNear(String what, Tensor actual, Tensor expected) {
    assertEquals(actual.shape(), expected.shape(), what);
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), 1e-4, 1e-2);
  }

  /** Choices of some experts out of all, no expert twice. */
  private Tensor choices(int tokens, int k, int experts) {
    long[] chosen = new long[tokens * k];
    for (int t = 0; t < tokens; t++) {
      long first = random.nextInt(experts);
      for (int j = 0; j < k; j++) {
        chosen[t * k + j] = (first + j) % experts;
      }
    }
    return Tensors.of(chosen, tokens, k);
  }

  private static MoeLayer layer(Gate gate, Experts experts) {
    return new MoeLayer(0, gate, TokenDispatcher.local(), experts);
  }

  @DataProvider
  public Object[][] blocks() {
    return new Object[][] {
      {"", 0},
      {"--swiglu", 0},
      {"--relu", 9},
      {"--squared-relu", 4},
      {"--swiglu --disable-bias-linear", 9},
      {"--disable-bias-linear", 0}
    };
  }

  /** Blocks as experts are the grouped experts with the same weights. */
  @Test(dataProvider = "blocks")
  public void blocksAreTheGroupedExperts(String flags, long capacity) {
    int h = 9;
    int f = 7;
    int experts = 5;
    int tokens = 13;
    GptConfig model =
        Models.config(
            ("--num-layers 1 --num-attention-heads 1 --seq-length 1 --hidden-size %d"
                    + " --ffn-hidden-size %d %s")
                .formatted(h, f, flags)
                .strip());
    MoeConfig moe =
        MoeConfig.parse(
            Refusals.words("--num-experts 5" + (model.bias() ? " --add-expert-bias" : "")));
    try (ParameterSet one = Models.parameters(ScalarType.Float);
        ParameterSet other = Models.parameters(ScalarType.Float)) {
      GroupedMlp grouped = new GroupedMlp(moe.expertShape(model.layerShape(), 0), one.root());
      Models.randomise(one, random, 0.5);
      ModuleExperts modules =
          ModuleExperts.of(
              experts,
              (i, parameters) -> Expert.of(new Mlp(model.layerShape(), i, parameters)),
              other.root());
      try (NoGradGuard guard = new NoGradGuard()) {
        other.all().forEach(p -> p.tensor().copy_(grouped(one, p.name())));
      }
      Tensor chosen = choices(tokens, 2, experts);
      Tensor weights = Models.normals(random, tokens, 2);
      Tensor x = Models.normals(random, tokens, h);
      Tensor upstream = Models.normals(random, tokens, h);
      List<Tensor> results = new ArrayList<>();
      for (Experts kind : List.of(grouped, modules)) {
        Tensor weight = weights.detach().clone().set_requires_grad(true);
        Tensor input = x.detach().clone().set_requires_grad(true);
        MoeLayer layer = layer(new FixedGate(chosen, weight, experts, capacity), kind);
        Tensor y = layer.forward(input, Pass.evaluation());
        y.mul(upstream).sum().backward();
        results.addAll(List.of(y, weight.grad(), input.grad()));
      }
      assertNear("output", results.get(3), results.get(0));
      assertNear("weights' gradient", results.get(4), results.get(1));
      assertNear("input's gradient", results.get(5), results.get(2));
      other.all().forEach(p -> assertNear(p.name(), gradient(p.tensor()), groupedGradient(one, p)));
    }
  }

  private static Tensor gradient(Tensor t) {
    return t.grad().defined() ? t.grad() : torch.zeros_like(t);
  }

  /** Of a name such as {@code local_experts.3.linear_fc1.weight} the grouped parameter's part. */
  private static Tensor grouped(ParameterSet parameters, String name) {
    String[] parts = name.split("\\.", 3);
    return Models.parameter(parameters, parts[2]).detach().select(0, Long.parseLong(parts[1]));
  }

  private static Tensor groupedGradient(ParameterSet parameters, moe4j.transformer.Parameter p) {
    String[] parts = p.name().split("\\.", 3);
    return Models.parameter(parameters, parts[2]).grad().select(0, Long.parseLong(parts[1]));
  }

  /** Different modules in a list; their number is that of the gate's experts. */
  @Test
  public void expertsMayDiffer() {
    Tensor matrix = Models.normals(random, 4, 4).set_requires_grad(true);
    List<Expert> list =
        List.of(
            Expert.of(x -> x.mul(new Scalar(3))),
            Expert.of(x -> x.mm(matrix)),
            Expert.of(Tensor::square));
    Tensor chosen = choices(8, 2, 3);
    Tensor weight = Models.normals(random, 8, 2);
    Tensor x = Models.normals(random, 2, 4, 4);
    Tensor y =
        layer(new FixedGate(chosen, weight, 3, 0), new ModuleExperts(list))
            .forward(x, Pass.evaluation());
    TensorVector expected = new TensorVector();
    long[] experts = Tensors.longs(chosen);
    float[] weights = Tensors.floats(weight);
    for (int t = 0; t < 8; t++) {
      Tensor token = x.view(8, 4).narrow(0, t, 1);
      Tensor sum = torch.zeros_like(token);
      for (int j = 0; j < 2; j++) {
        Tensor[] each = {token.mul(new Scalar(3)), token.mm(matrix), token.square()};
        sum = sum.add(each[(int) experts[2 * t + j]].mul(new Scalar(weights[2 * t + j])));
      }
      expected.push_back(sum);
    }
    assertNear("output", y, torch.cat(expected, 0).view(2, 4, 4));
    Gate four = new FixedGate(chosen, weight, 4, 0);
    assertEquals(
        refusal(() -> layer(four, new ModuleExperts(list)).forward(x, Pass.evaluation())),
        "the gate routes to 4 experts, but the layer has 3");
  }

  private static String refusal(Runnable body) {
    return expectThrows(RuntimeException.class, body::run).getMessage();
  }

  /** Two inputs, one of them with more dimensions, and two outputs of sizes of their own. */
  @Test
  public void severalInputsAndOutputs() {
    for (long capacity : new long[] {0, 12}) {
      Expert expert =
          (rows, pass) -> {
            Tensor a = rows.get(0);
            Tensor b = rows.get(1);
            Tensor wide = torch.cat(new TensorVector(a, b.flatten(1, -1)), 1);
            return List.of(wide, b.mul(a.sum(1).view(-1, 1, 1)));
          };
      Tensor chosen = choices(12, 1, 4);
      Tensor weight = Models.normals(random, 12, 1).set_requires_grad(true);
      Tensor a = Models.normals(random, 3, 4, 5).set_requires_grad(true);
      Tensor b = Models.normals(random, 12, 2, 3).set_requires_grad(true);
      // An input's last dimension but one is a token's, as the others before it.
      Tensor flatB = b.view(3, 4, 6);
      MoeLayer layer =
          layer(
              new FixedGate(chosen, weight, 4, capacity),
              new ModuleExperts(
                  List.of(
                      reshaping(expert), reshaping(expert), reshaping(expert), reshaping(expert))));
      List<Tensor> outputs = layer.forward(List.of(a, flatB), null, Pass.evaluation());
      Tensor factor = weight.detach();
      Tensor wide = torch.cat(new TensorVector(a.view(12, 5), b.view(12, 6)), 1).detach();
      assertEquals(outputs.size(), 2);
      assertNear("first", outputs.get(0), wide.mul(factor).view(3, 4, 11));
      Tensor second = b.view(12, 6).mul(a.view(12, 5).sum(1).unsqueeze(1)).detach();
      assertNear("second", outputs.get(1), second.mul(factor).view(3, 4, 6));
      Tensor upstream = Models.normals(random, 3, 4, 6);
      outputs.get(1).mul(upstream).sum().backward();
      Tensor sums = a.detach().view(12, 5).sum(1).unsqueeze(1);
      assertNear(
          "second input's gradient",
          b.grad().view(12, 6),
          upstream.view(12, 6).mul(factor).mul(sums));
      assertNear(
          "weights' gradient", weight.grad(), upstream.view(12, 6).mul(second).sum(1).unsqueeze(1));
      Tensor fewer = Models.normals(random, 11, 2);
      assertEquals(
          refusal(() -> layer.forward(List.of(a, fewer), null, Pass.evaluation())),
          "all inputs of an MoE layer must have as many tokens: one has 11, the first has 12");
    }
  }

  private static Expert reshaping(Expert expert) {
    return (rows, pass) -> {
      List<Tensor> shaped = new ArrayList<>(rows);
      shaped.set(1, rows.get(1).view(-1, 2, 3));
      List<Tensor> outputs = new ArrayList<>(expert.forward(shaped, pass));
      outputs.set(1, outputs.get(1).flatten(1, -1));
      return outputs;
    };
  }

  @Test
  public void outputsAreAsManyForEach() {
    Expert one = Expert.of(x -> x);
    Expert two = (rows, pass) -> List.of(rows.get(0), rows.get(0));
    Tensor x = Models.normals(random, 6, 4);
    Gate both =
        new FixedGate(Tensors.of(new long[] {0, 1, 0, 1, 0, 1}, 6, 1), torch.ones(6, 1), 2, 0);
    assertEquals(
        refusal(
            () -> layer(both, new ModuleExperts(List.of(one, two))).forward(x, Pass.evaluation())),
        "all experts of a layer must have as many outputs: one has 2, another has 1");
    assertEquals(
        refusal(
            () -> layer(both, new ModuleExperts(List.of(two, two))).forward(x, Pass.evaluation())),
        "the experts have 2 outputs: call MoeLayer.forward with a list of inputs, which returns all of them");
  }

  /** Experts that make other vectors than they take; an expert without rows is not called. */
  @Test
  public void outputsMayHaveASizeOfTheirOwn() {
    for (long capacity : new long[] {0, 10}) {
      Tensor[] matrices = new Tensor[3];
      List<Expert> list = new ArrayList<>();
      for (int e = 0; e < 3; e++) {
        Tensor matrix = Models.normals(random, 4, 7).set_requires_grad(true);
        matrices[e] = matrix;
        list.add(Expert.of(rows -> rows.mm(matrix)));
      }
      Tensor chosen = Tensors.of(new long[] {0, 2, 2, 0, 2, 0, 0, 2, 2, 2}, 10, 1);
      Tensor weight = Models.normals(random, 10, 1);
      Tensor x = Models.normals(random, 2, 5, 4);
      Tensor y =
          layer(new FixedGate(chosen, weight, 3, capacity), new ModuleExperts(list))
              .forward(x, Pass.evaluation());
      assertEquals(y.shape(), new long[] {2, 5, 7});
      y.sum().backward();
      long[] of = Tensors.longs(chosen);
      for (int t = 0; t < 10; t++) {
        Tensor token = x.view(10, 4).narrow(0, t, 1);
        Tensor expected = token.mm(matrices[(int) of[t]]).mul(weight.narrow(0, t, 1));
        assertNear("token " + t, y.view(10, 7).narrow(0, t, 1), expected);
      }
      assertEquals(matrices[0].grad().defined(), true);
      if (capacity == 0) {
        assertFalse(matrices[1].grad().defined());
      } else {
        assertEquals(Tensors.floats(matrices[1].grad()), new float[28]);
      }
    }
  }

  /** Where every route was dropped the output is zeros, of the experts' sizes. */
  @Test
  public void everythingMayBeDropped() {
    Tensor none = Tensors.of(new long[] {-1, -1, -1}, 3, 1);
    Tensor weight = torch.ones(3, 1).set_requires_grad(true);
    Tensor matrix = Models.normals(random, 4, 7).set_requires_grad(true);
    Expert expert = (rows, pass) -> List.of(rows.get(0).mm(matrix), rows.get(0));
    for (long capacity : new long[] {0, 2}) {
      Tensor x = Models.normals(random, 3, 4).set_requires_grad(true);
      List<Tensor> outputs =
          layer(new FixedGate(none, weight, 1, capacity), new ModuleExperts(List.of(expert)))
              .forward(List.of(x), null, Pass.evaluation());
      assertEquals(outputs.size(), 2);
      assertEquals(outputs.get(0).shape(), new long[] {3, 7});
      assertEquals(outputs.get(1).shape(), new long[] {3, 4});
      assertEquals(Tensors.floats(outputs.get(0)), new float[21]);
      outputs.get(0).sum().add(outputs.get(1).sum()).backward();
      assertEquals(Tensors.floats(gradient(x)), new float[12]);
      assertEquals(Tensors.floats(gradient(weight)), new float[3]);
      assertEquals(Tensors.floats(gradient(matrix)), new float[28]);
    }
  }
}
