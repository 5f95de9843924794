package moe4j.moe;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import moe4j.moe.experts.Expert;
import moe4j.moe.experts.Experts;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.NaiveGate;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Activation;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterScope;
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

/** What the builder makes of what it is told, and of what it is not. */
public class MoeLayerBuilderTest {
  private Random random;
  private PointerScope scope;
  private ParameterSet parameters;

  @BeforeMethod
  public void open() {
    random = Seeds.random(MoeLayerBuilderTest.class);
    scope = new PointerScope();
    parameters = Models.parameters(ScalarType.Float);
  }

  @AfterMethod
  public void close() {
    parameters.close();
    scope.close();
  }

  private static Pass training() {
    return Pass.training(new StepRandom(1, 0, 0, 1));
  }

  /** Every parameter's shape by its name. */
  private Map<String, List<Long>> shapes() {
    Map<String, List<Long>> shapes = new TreeMap<>();
    for (Parameter parameter : parameters.all()) {
      List<Long> shape = new ArrayList<>();
      for (long size : parameter.tensor().shape()) {
        shape.add(size);
      }
      shapes.put(parameter.name(), shape);
    }
    return shapes;
  }

  @Test
  public void whatIsNotSaidIsAsUsual() {
    MoeLayer layer = MoeLayer.builder(8, 4).build(parameters.root().child("moe"));
    assertEquals(
        shapes(),
        Map.of(
            "moe.router.weight", List.of(4L, 8L),
            "moe.experts.linear_fc1.weight", List.of(4L, 16L, 8L),
            "moe.experts.linear_fc2.weight", List.of(4L, 8L, 16L)));
    Pass pass = training();
    Tensor x = Models.normals(random, 3, 5, 8);
    assertEquals(layer.forward(x, pass).shape(), x.shape());
    assertEquals(pass.losses().size(), 1);
    assertEquals(pass.losses().get(0).name(), "load_balancing_loss");
    assertEquals(pass.losses().get(0).coefficient(), 0.01);
    assertEquals(pass.losses().get(0).layer(), 0);
    assertEquals(pass.loads().get(0).routed(), 30);
  }

  @Test
  public void itIsTheLayerOfTheSameFlags() {
    Activation[] activations = {Activation.GELU, Activation.SWIGLU, Activation.RELU};
    String[] flags = {"", " --swiglu", " --relu"};
    for (int i = 0; i < flags.length; i++) {
      try (ParameterSet one = Models.parameters(ScalarType.Float);
          ParameterSet other = Models.parameters(ScalarType.Float)) {
        MoeLayer built =
            MoeLayer.builder(12, 5)
                .topk(3)
                .expertHiddenSize(7)
                .activation(activations[i])
                .expertBias()
                .lossWeight(0.3)
                .initMethodStd(0.5)
                .layer(2)
                .build(one.root().child("mlp"));
        MoeLayer flagged =
            MoeLayer.create(
                Models.config(
                        "--num-layers 3 --num-attention-heads 1 --seq-length 1 --hidden-size 12"
                            + " --init-method-std 0.5"
                            + flags[i])
                    .layerShape(),
                MoeConfig.parse(
                    "--num-experts 5 --moe-router-topk 3 --moe-ffn-hidden-size 7 --add-expert-bias --moe-aux-loss-coeff 0.3"
                        .split(" ")),
                2,
                other.root().child("mlp"));
        Models.randomise(one, Seeds.random(Map.class), 0.5);
        Models.randomise(other, Seeds.random(Map.class), 0.5);
        Tensor x = Models.normals(random, 9, 12);
        Pass pass = training();
        Pass expected = training();
        assertEquals(
            Tensors.floats(built.forward(x, pass)), Tensors.floats(flagged.forward(x, expected)));
        Pass.SideLoss loss = pass.losses().get(0);
        assertEquals(loss.coefficient(), 0.3);
        assertEquals(loss.layer(), 2);
        assertEquals(pass.loads().get(0).layer(), 2);
        assertEquals(
            Tensors.item(loss.value()), Tensors.item(expected.losses().get(0).value()), 0.0);
      }
    }
  }

  /** A softmax over one expert alone would teach the router nothing. */
  @Test
  public void oneExpertATokenTeachesTheRouter() {
    MoeLayer layer = MoeLayer.builder(8, 4).topk(1).lossWeight(0).build(parameters.root());
    Models.randomise(parameters, random, 0.5);
    layer.forward(Models.normals(random, 20, 8), training()).square().sum().backward();
    Tensor gradient = Models.parameter(parameters, "router.weight").grad();
    assertTrue(Tensors.item(gradient.norm()) > 1e-3);
  }

  @Test
  public void aLoneExpertIsTakenByAll() {
    MoeLayer layer = MoeLayer.builder(8, 1).build(parameters.root());
    Pass pass = training();
    layer.forward(Models.normals(random, 6, 8), pass);
    assertEquals(Tensors.longs(pass.loads().get(0).tokens()), new long[] {6});
    assertEquals(shapes().get("experts.linear_fc1.weight"), List.of(1L, 32L, 8L));
  }

  @Test
  public void gateAndExpertsMayBeOnesOwn() {
    MoeLayer layer =
        MoeLayer.builder(4, 3)
            .topk(2)
            .layer(6)
            .lossWeight(0.25)
            .initMethodStd(0.125)
            .gate(
                (shape, s) -> {
                  assertEquals(shape, new Gate.Shape(6, 4, 3, 2, 0.125, 0.25));
                  return new NaiveGate(shape, s);
                })
            .experts(
                (number, s) -> {
                  Tensor factor = s.gain("factor", 4);
                  return Expert.of(x -> x.mul(factor).mul(new Scalar(number + 1.0)));
                })
            .shared((x, pass) -> x.neg())
            .build(parameters.root());
    assertEquals(
        shapes(),
        Map.of(
            "router.weight", List.of(3L, 4L),
            "router.bias", List.of(3L),
            "experts.local_experts.0.factor", List.of(4L),
            "experts.local_experts.1.factor", List.of(4L),
            "experts.local_experts.2.factor", List.of(4L)));
    Tensor x = Models.normals(random, 7, 4);
    float[] y = Tensors.floats(layer.forward(x, Pass.evaluation()));
    float[] in = Tensors.floats(x);
    for (int i = 0; i < y.length; i++) {
      // Weights add up to one, of factors between 1 and 3, and the shared expert takes one away.
      double factor = y[i] / in[i];
      assertTrue(factor > -1e-3 && factor < 2 + 1e-3, "factor " + factor);
    }
  }

  @Test
  public void expertsMayBeAListOrAnotherLayers() {
    List<Expert> two = List.of(Expert.of(x -> x), Expert.of(x -> x));
    MoeLayer layer = MoeLayer.builder(4, 2).experts(two).build(parameters.root().child("a"));
    Tensor x = Models.normals(random, 5, 4);
    float[] y = Tensors.floats(layer.forward(x, Pass.evaluation()));
    float[] expected = Tensors.floats(x);
    for (int i = 0; i < y.length; i++) {
      assertEquals(y[i], expected[i], 1e-5);
    }
    Experts same = (dispatched, pass) -> dispatched.rows();
    List<ParameterScope> seen = new ArrayList<>();
    MoeLayer.builder(4, 2)
        .experts(
            s -> {
              seen.add(s);
              return same;
            })
        .build(parameters.root().child("b"));
    assertEquals(seen.size(), 1);
    seen.get(0).bias("own", 1);
    assertTrue(shapes().containsKey("b.experts.own"));
  }

  /** Initial weights are keyed by name, so a builder's layers differ. */
  @Test
  public void aBuilderMakesSeveralLayers() {
    MoeLayerBuilder builder = MoeLayer.builder(8, 4).initMethodStd(0.5);
    MoeLayer first = builder.build(parameters.root().child("first"));
    MoeLayer second = builder.layer(1).build(parameters.root().child("second"));
    Tensor x = Models.normals(random, 5, 8);
    Pass pass = training();
    assertNotEquals(
        Tensors.floats(first.forward(x, pass)), Tensors.floats(second.forward(x, pass)));
    assertEquals(pass.loads().get(0).layer(), 0);
    assertEquals(pass.loads().get(1).layer(), 1);
  }

  @DataProvider
  public Object[][] nonsense() {
    UnaryOperator<MoeLayerBuilder> own = b -> b.experts(s -> (dispatched, pass) -> null);
    return new Object[][] {
      {3, 4, (UnaryOperator<MoeLayerBuilder>) b -> b.topk(5), "5 experts a token are not between"},
      {3, 4, (UnaryOperator<MoeLayerBuilder>) b -> b.topk(0), "0 experts a token are not between"},
      {0, 4, (UnaryOperator<MoeLayerBuilder>) b -> b, "a hidden size of 0 is not positive"},
      {3, 0, (UnaryOperator<MoeLayerBuilder>) b -> b, "0 experts are too few for a layer"},
      {
        4,
        4,
        (UnaryOperator<MoeLayerBuilder>) b -> b.topk(3),
        "4 times the hidden size 4 is no multiple of the 3 experts a token goes to: give"
            + " expertHiddenSize"
      },
      {
        4,
        4,
        (UnaryOperator<MoeLayerBuilder>) b -> b.expertHiddenSize(0),
        "an expert's hidden size of 0 is not positive"
      },
      {
        4,
        4,
        (UnaryOperator<MoeLayerBuilder>) b -> b.lossWeight(Double.NaN),
        "a loss weight of NaN is negative"
      },
      {
        4,
        4,
        (UnaryOperator<MoeLayerBuilder>) b -> b.initMethodStd(-1),
        "a standard deviation of -1.0 is negative"
      },
      {4, 4, (UnaryOperator<MoeLayerBuilder>) b -> b.layer(-1), "a layer's number of -1"},
      {
        4,
        4,
        (UnaryOperator<MoeLayerBuilder>) b -> b.experts(List.of(Expert.of(x -> x))),
        "a list of 1 experts for a layer of 4"
      },
      {4, 4, (UnaryOperator<MoeLayerBuilder>) b -> own.apply(b).expertBias(), "have no effect on"},
      {4, 4, (UnaryOperator<MoeLayerBuilder>) b -> b.expertDropout(1), "dropout of 1.0 is not in"},
      {
        4,
        4,
        (UnaryOperator<MoeLayerBuilder>) b -> own.apply(b).expertDropout(0.1),
        "expertDropout has no effect"
      },
      {
        4,
        4,
        (UnaryOperator<MoeLayerBuilder>) b -> own.apply(b).expertHiddenSize(8),
        "have no effect on"
      },
      {
        4,
        4,
        (UnaryOperator<MoeLayerBuilder>) b -> own.apply(b).activation(Activation.RELU),
        "have no effect on"
      },
    };
  }

  @Test(dataProvider = "nonsense")
  public void nonsenseIsRefused(
      int hidden, int experts, UnaryOperator<MoeLayerBuilder> told, String sentence) {
    String message =
        expectThrows(
                IllegalArgumentException.class,
                () -> told.apply(MoeLayer.builder(hidden, experts)).build(parameters.root()))
            .getMessage();
    assertTrue(message.contains(sentence), message);
    assertTrue(parameters.all().isEmpty());
  }
}
