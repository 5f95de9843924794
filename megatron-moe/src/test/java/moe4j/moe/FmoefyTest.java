package moe4j.moe;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptModel;
import moe4j.moe.gate.NoisyGate;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Batch;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
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

/** A dense model that is given experts. */
public class FmoefyTest {
  private static final int H = 16;
  private static final int F = 24;
  private static final int VOCABULARY = 50;

  private Random random;
  private PointerScope scope;
  private ParameterSet parameters;
  private GptModel model;

  @BeforeMethod
  public void open() {
    random = Seeds.random(FmoefyTest.class);
    scope = new PointerScope();
    parameters = Models.parameters(ScalarType.Float);
    GptConfig config =
        Models.config(
            "--num-layers 2 --num-attention-heads 2 --seq-length 6 --hidden-size %d".formatted(H)
                + " --ffn-hidden-size "
                + F);
    model = GptModel.dense(config, VOCABULARY, parameters);
  }

  @AfterMethod
  public void close() {
    model.close();
    scope.close();
  }

  private Set<String> names() {
    return parameters.all().stream()
        .map(Parameter::name)
        .collect(Collectors.toCollection(TreeSet::new));
  }

  private static boolean isFeedForward(String name) {
    return name.matches("decoder\\.layers\\.\\d+\\.mlp\\..*");
  }

  private Set<String> feedForward() {
    return names().stream().filter(FmoefyTest::isFeedForward).collect(Collectors.toSet());
  }

  /** A loss, and the gradients of all parameters. */
  private Pass train() {
    Tensor tokens = Models.tokens(random, VOCABULARY, 2, 6);
    Batch batch = new Batch(tokens, tokens, torch.ones(2, 6), null, null);
    Pass pass = TestLayer.training(2);
    Tensor total = model.loss(batch, pass).mean();
    for (Pass.SideLoss loss : pass.losses()) {
      total = total.add(loss.value().mul(new Scalar(loss.coefficient())));
    }
    total.backward();
    assertTrue(Double.isFinite(Tensors.item(total)));
    for (Parameter parameter : parameters.all()) {
      assertTrue(parameter.tensor().grad().defined(), parameter.name());
      assertTrue(parameter.tensor().grad().isfinite().all().item_bool(), parameter.name());
    }
    return pass;
  }

  @Test
  public void expertsTakeTheBlocksPlace() {
    Set<String> others = names();
    others.removeIf(FmoefyTest::isFeedForward);
    long dense = parameters.elements();
    assertEquals(feedForward().size(), 8);
    assertEquals(Moe.fmoefy(model, 5), model);
    Set<String> expected = new TreeSet<>(others);
    for (int layer = 0; layer < 2; layer++) {
      String mlp = "decoder.layers.%d.mlp.".formatted(layer);
      expected.addAll(
          List.of(
              mlp + "router.weight",
              mlp + "experts.linear_fc1.weight",
              mlp + "experts.linear_fc2.weight"));
    }
    assertEquals(names(), expected);
    // Two layers: a block of 2 h f + f + h was there, E halves of it and a router are.
    long block = 2L * H * F + F + H;
    long experts = 5L * 2 * H * (F / 2) + 5L * H;
    assertEquals(parameters.elements(), dense - 2 * block + 2 * experts);
    Pass pass = train();
    assertEquals(
        pass.losses().stream().map(l -> l.name() + l.layer() + " " + l.coefficient()).toList(),
        List.of("load_balancing_loss0 0.01", "load_balancing_loss1 0.01"));
    assertEquals(pass.loads().size(), 2);
    assertEquals(
        java.util.Arrays.stream(Tensors.longs(pass.loads().get(1).tokens())).sum(), 2L * 12);
  }

  /** Another gate and other experts, and back to some layers without; buffers go too. */
  @Test
  public void aSecondTimeWorksToo() {
    Moe.fmoefy(
        model,
        MoeConfig.parse(
            Refusals.words(
                "--num-experts 4 --moe-router-enable-expert-bias --moe-router-score-function sigmoid"
                    + " --moe-router-load-balancing-type global_aux_loss --moe-aux-loss-coeff 0.1")));
    train();
    assertEquals(
        parameters.buffers().stream().map(Parameter.Buffer::name).toList(),
        List.of(
            "decoder.layers.0.mlp.router.expert_bias", "decoder.layers.1.mlp.router.expert_bias"));
    Set<String> first = feedForward();
    Moe.fmoefy(
        model,
        MoeConfig.parse(
            Refusals.words(
                "--fmoefy --num-experts 6 --top-k 3 --balance-strategy noisy --moe-layer-freq 2"
                    + " --add-expert-bias")));
    assertEquals(parameters.buffers().size(), 0);
    parameters.endStep(torch.zeros(new long[0]));
    String mlp = "decoder.layers.0.mlp.";
    assertTrue(feedForward().contains(mlp + "router.noise.weight"));
    assertTrue(feedForward().contains("decoder.layers.1.mlp.linear_fc1.weight"));
    assertFalse(feedForward().contains("decoder.layers.1.mlp.router.weight"));
    assertEquals(
        Models.parameter(parameters, mlp + "experts.linear_fc1.bias").shape(),
        new long[] {6, F / 3});
    parameters.all().forEach(p -> p.tensor().mutable_grad().reset());
    Pass pass = train();
    assertEquals(pass.losses().get(0).name(), NoisyGate.LOSS);
    // One layer of two has experts.
    assertEquals(pass.losses().get(0).coefficient(), 1.0);
    Moe.fmoefy(model, 4);
    Set<String> last = feedForward();
    first.removeIf(name -> !name.endsWith("weight"));
    assertEquals(last, first);
    train();
  }

  @Test
  public void aRefusalLeavesTheModelAsItWas() {
    Set<String> before = names();
    for (String flags : new String[] {"--fmoefy --top-k 5", "--moe-layer-freq [0]*3"}) {
      MoeConfig moe = MoeConfig.parse(Refusals.words("--num-experts 6 " + flags));
      assertThrows(IllegalArgumentException.class, () -> Moe.fmoefy(model, moe));
      assertEquals(names(), before);
    }
    train();
  }

  /** What is made in a block's place begins with the weights that its name gives. */
  @Test
  public void initialWeightsFollowTheirNames() {
    Moe.fmoefy(model, 5);
    String name = "decoder.layers.1.mlp.experts.linear_fc2.weight";
    float[] once = Tensors.floats(Models.parameter(parameters, name));
    Moe.fmoefy(model, 5);
    assertEquals(Tensors.floats(Models.parameter(parameters, name)), once);
    Tensor weight = Models.parameter(parameters, name);
    assertFalse(weight.select(0, 0).equal(weight.select(0, 1)));
  }
}
