package moe4j.examples.library;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.function.IntFunction;
import java.util.function.UnaryOperator;
import moe4j.moe.MoeLayer;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** Experts of one's own against a loop over tokens, in fp64. */
public class OwnExpertTest {
  private static final int TOKENS = 30;
  private static final int HIDDEN = 6;
  private static final int EXPERTS = 4;

  private Random random;
  private PointerScope scope;
  private ParameterSet parameters;
  private final Map<String, Tensor> exact = new HashMap<>();

  @BeforeMethod
  public void open() {
    random = Seeds.random(OwnExpertTest.class);
    scope = new PointerScope();
    parameters = Testing.parameters();
    exact.clear();
  }

  @AfterMethod
  public void close() {
    parameters.close();
    scope.close();
  }

  @Test
  public void expertsMadeAlike() {
    check(
        OwnExpert.alike(HIDDEN, 5, EXPERTS).gate(drawn())::build,
        e -> x -> glu("experts.local_experts.%d.".formatted(e), x));
  }

  @Test
  public void expertsThatDiffer() {
    check(
        s -> OwnExpert.different(HIDDEN, s).gate(drawn()).build(s),
        e ->
            x ->
                switch (e) {
                  case 0 -> glu("glu.", x);
                  case 1 -> weight("up.weight").mv(weight("down.weight").mv(x));
                  case 2 -> x;
                  default -> torch.zeros_like(x);
                });
  }

  /** Padding adds rows that nobody uses; with room for all it changes nothing. */
  @Test
  public void paddedExpertsAreTheSame() {
    Tensor x = Testing.normals(random, TOKENS, HIDDEN);
    MoeLayer padded = OwnExpert.padded(HIDDEN, 5, 2).build(parameters.root());
    Testing.randomise(parameters, random);
    try (ParameterSet others = Testing.parameters()) {
      MoeLayer plain = OwnExpert.alike(HIDDEN, 5, 2).build(others.root());
      try (var guard = new org.bytedeco.pytorch.NoGradGuard()) {
        for (Parameter parameter : others.all()) {
          parameter.tensor().copy_(Testing.parameter(parameters, parameter.name()));
        }
      }
      float[] expected = Tensors.floats(plain.forward(x, Pass.evaluation()));
      assertClose(
          "output", Tensors.floats(padded.forward(x, Pass.evaluation())), expected, 1e-5, 1e-2);
    }
  }

  private long[] choices;
  private float[] weights;

  /** A gate that sends each token to two drawn experts, with drawn weights. */
  private Gate.Factory drawn() {
    choices = new long[2 * TOKENS];
    for (int t = 0; t < TOKENS; t++) {
      choices[2 * t] = random.nextInt(EXPERTS);
      choices[2 * t + 1] = (choices[2 * t] + 1 + random.nextInt(EXPERTS - 1)) % EXPERTS;
    }
    weights = Seeds.normals(random, choices.length);
    return (shape, s) ->
        (hidden, pass) ->
            Routing.ofChoices(
                Tensors.of(choices, TOKENS, 2), Tensors.of(weights, TOKENS, 2), EXPERTS);
  }

  private interface Builder {
    MoeLayer build(moe4j.transformer.ParameterScope parameters);
  }

  private void check(Builder builder, IntFunction<UnaryOperator<Tensor>> expected) {
    MoeLayer layer = builder.build(parameters.root());
    Testing.randomise(parameters, random);
    Tensor x = Testing.normals(random, TOKENS, HIDDEN).set_requires_grad(true);
    Tensor upstream = Testing.normals(random, TOKENS, HIDDEN);
    Tensor y = layer.forward(x, Pass.evaluation());
    y.mul(upstream).sum().backward();

    Tensor exactX = Testing.exact(x);
    TensorVector rows = new TensorVector();
    for (int t = 0; t < TOKENS; t++) {
      Tensor token = exactX.select(0, t);
      Tensor sum = torch.zeros_like(token);
      for (int j = 2 * t; j < 2 * t + 2; j++) {
        Tensor output = expected.apply((int) choices[j]).apply(token);
        sum = sum.add(output.mul(new Scalar((double) weights[j])));
      }
      rows.push_back(sum);
    }
    Tensor exactY = torch.stack(rows);
    exactY.mul(upstream.to(ScalarType.Double)).sum().backward();
    assertNear("output", y, exactY);
    assertNear("input's gradient", x.grad(), exactX.grad());
    assertEquals(exact.size(), parameters.all().size());
    for (Parameter parameter : parameters.all()) {
      assertNear(parameter.name(), parameter.tensor().grad(), exact.get(parameter.name()).grad());
    }
  }

  /** The gated linear unit of a token, by its definition. */
  private Tensor glu(String prefix, Tensor x) {
    Tensor scale = x.square().mean().add(new Scalar(1e-6)).sqrt();
    Tensor n = x.div(scale).mul(weight(prefix + "norm.weight"));
    Tensor gate = weight(prefix + "gate.weight").mv(n);
    Tensor silu = gate.div(gate.neg().exp().add(new Scalar(1.0)));
    Tensor value = weight(prefix + "value.weight").mv(n);
    return weight(prefix + "out.weight").mv(silu.mul(value));
  }

  private Tensor weight(String name) {
    return exact.computeIfAbsent(name, n -> Testing.exact(parameters, n));
  }

  private static void assertNear(String what, Tensor actual, Tensor expected) {
    assertClose(what, Tensors.floats(actual), Tensors.floats(expected), 2e-5, 1e-2);
  }
}
