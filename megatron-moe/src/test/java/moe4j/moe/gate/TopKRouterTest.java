package moe4j.moe.gate;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.MoeConfig;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** Its logits are the hidden states themselves where the weight is the identity. */
public class TopKRouterTest {
  private Random random;
  private PointerScope scope;
  private ParameterSet parameters;

  @BeforeMethod
  public void open() {
    random = Seeds.random(TopKRouterTest.class);
    scope = new PointerScope();
    parameters = Models.parameters(ScalarType.Float);
  }

  @AfterMethod
  public void close() {
    parameters.close();
    scope.close();
  }

  /** A router over as many experts as channels, whose logits are its input. */
  private TopKRouter identity(int experts, String flags) {
    Flags.Parsed parsed =
        Flags.of(GptConfig.class, MoeConfig.class)
            .parse(
                Refusals.words(
                    ("--num-layers 1 --num-attention-heads 1 --seq-length 1 --hidden-size %d"
                            + " --num-experts %d %s")
                        .formatted(experts, experts, flags)));
    MoeConfig moe = parsed.get(MoeConfig.class);
    TopKRouter router =
        new TopKRouter(
            new Gate.Shape(3, experts, experts, moe.moeRouterTopk(), 0.02, 1),
            moe.router(),
            moe.capacity(),
            parameters.root().child("router" + parameters.all().size()));
    float[] weight = new float[experts * experts];
    for (int e = 0; e < experts; e++) {
      weight[e * experts + e] = 1;
    }
    try (NoGradGuard guard = new NoGradGuard()) {
      Tensor last = parameters.all().get(parameters.all().size() - 1).tensor();
      last.copy_(Tensors.of(weight, experts, experts));
    }
    return router;
  }

  private static double loss(TopKRouter router, float[] logits, int experts) {
    Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
    router.route(Tensors.of(logits, logits.length / experts, experts), pass);
    assertEquals(pass.losses().size(), 1);
    assertEquals(pass.losses().get(0).layer(), 3);
    return Tensors.item(pass.losses().get(0).value());
  }

  @Test
  public void theBalanceLossIsOneWhereBalanced() {
    int experts = 6;
    for (int k : new int[] {1, 2, 5}) {
      TopKRouter router =
          identity(
              experts, "--moe-aux-loss-coeff 0.01 --moe-router-pre-softmax --moe-router-topk " + k);
      // Token t prefers expert t, then t + 1 and so on: each expert gets k of the six tokens.
      float[] logits = new float[experts * experts];
      for (int t = 0; t < experts; t++) {
        for (int e = 0; e < experts; e++) {
          logits[t * experts + e] = -Math.floorMod(e - t, experts);
        }
      }
      assertEquals(loss(router, logits, experts), 1, 1e-6);
    }
  }

  /** With all tokens and all probability on one expert it is E, its largest value. */
  @Test
  public void theBalanceLossOfACollapse() {
    TopKRouter router =
        identity(4, "--moe-aux-loss-coeff 2 --moe-router-pre-softmax --moe-router-topk 1");
    float[] logits = new float[4 * 10];
    for (int t = 0; t < 10; t++) {
      logits[4 * t + 2] = 100;
    }
    assertEquals(loss(router, logits, 4), 4, 1e-6);
  }

  @Test
  public void lossesAreLeftWhereTheyAreAskedFor() {
    float[] logits = Seeds.normals(random, 12);
    TopKRouter none = identity(4, "--moe-router-load-balancing-type none");
    Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
    none.route(Tensors.of(logits, 3, 4), pass);
    assertEquals(pass.losses().size(), 0);
    TopKRouter z = identity(4, "--moe-router-load-balancing-type none --moe-z-loss-coeff 0.25");
    double sum = 0;
    for (int t = 0; t < 3; t++) {
      double powers = 0;
      for (int e = 0; e < 4; e++) {
        powers += Math.exp(logits[4 * t + e]);
      }
      sum += Math.pow(Math.log(powers), 2);
    }
    assertEquals(loss(z, logits, 4), sum / 3, 1e-5);
  }

  /** As in Megatron's log line. */
  @Test
  public void aLossThatHasNoWeightIsZero() {
    TopKRouter router = identity(4, "--moe-aux-loss-coeff 0 --moe-z-loss-coeff 0");
    Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
    router.route(Tensors.of(Seeds.normals(random, 12), 3, 4), pass);
    assertEquals(
        pass.losses().stream().map(Pass.SideLoss::name).toList(),
        List.of("load_balancing_loss", "z_loss"));
    for (Pass.SideLoss loss : pass.losses()) {
      assertEquals(Tensors.item(loss.value()), 0.0, loss.name());
    }
  }

  /** The greatest logit first, of equals the lowest expert. */
  @Test
  public void choicesAndTheirWeights() {
    TopKRouter router = identity(4, "--moe-router-topk 2");
    float[] logits = {0, 3, 1, 2, 5, 4, -1, -2, 7, 7, 7, 7};
    Routing routing = router.route(Tensors.of(logits, 3, 4), Pass.evaluation());
    long[] slots = Tensors.longs(routing.slot());
    float[] weights = Tensors.floats(routing.weight());
    long[] tokens = Tensors.longs(routing.token());
    double first = 1 / (1 + Math.exp(-1));
    for (int t = 0; t < 3; t++) {
      for (int j = 0; j < 2; j++) {
        int at = (int) slots[2 * t + j];
        assertEquals(tokens[at], t);
        assertEquals(weights[at], t == 2 ? 0.5 : j == 0 ? first : 1 - first, 1e-6);
      }
    }
    // Experts 1 and 3, 0 and 1, and of token 2's equals the first two.
    assertEquals(Tensors.longs(routing.tokensPerExpert()), new long[] {2, 3, 0, 1});
  }

  /** Logits that bf16 cannot tell apart are told apart. */
  @Test
  public void routingIsInFp32() {
    TopKRouter router = identity(2, "--moe-router-pre-softmax --moe-router-topk 1");
    try (NoGradGuard guard = new NoGradGuard()) {
      // 1 + 1 and 1 + 1.001 times one: 2 and 2.001 are one bf16 number.
      Tensor weight = parameters.all().get(0).tensor();
      weight.copy_(Tensors.of(new float[] {1, 1, 1, 1.001f}, 2, 2));
    }
    Tensor x = Tensors.of(new float[] {1, 1}, 1, 2).to(ScalarType.BFloat16);
    Routing routing = router.route(x, Pass.evaluation());
    assertEquals(Tensors.longs(routing.tokensPerExpert()), new long[] {0, 1});
    assertSame(Tensors.dtype(routing.weight()), ScalarType.Float);
    assertEquals(Tensors.item(routing.weight()), 1 / (1 + Math.exp(-0.001)), 1e-6);
  }

  /** What a route with its losses is made of, and the gradients of weight and hidden states. */
  private static List<float[]> results(
      TopKRouter router, Tensor weight, float[] hidden, int experts, boolean inSteps) {
    Tensor x = Tensors.of(hidden, hidden.length / experts, experts).set_requires_grad(true);
    Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
    if (inSteps) {
      // No token is padding, which the device alone knows.
      pass = pass.padded(Tensors.zeros(ScalarType.Bool, x.device(), x.size(0)));
    }
    Routing routing = router.route(x, pass);
    Tensor factors = Tensors.of(hidden).abs().add(routing.weight().detach().sum());
    Tensor part = Tensors.slice(factors, 0, 0, routing.weight().numel());
    pass.total(routing.weight().mul(part).sum()).backward();
    List<float[]> results = new ArrayList<>();
    results.add(Tensors.floats(routing.token()));
    results.add(Tensors.floats(routing.slot()));
    results.add(Tensors.floats(routing.offsets()));
    results.add(Tensors.floats(routing.tokensPerExpert()));
    results.add(Tensors.floats(routing.weight()));
    pass.losses().forEach(loss -> results.add(Tensors.floats(loss.value())));
    results.add(Tensors.floats(pass.figures().get(0).value()));
    results.add(Tensors.floats(x.grad()));
    results.add(Tensors.floats(weight.grad()));
    weight.grad().zero_();
    return results;
  }

  /** Padding is left out in operations of their own; without any they come to the same. */
  @Test
  public void allAtOnceIsAsInSteps() {
    int experts = 8;
    float[] hidden = Seeds.normals(random, 40 * experts);
    for (String score :
        new String[] {
          "",
          "--moe-router-pre-softmax",
          "--moe-router-score-function sigmoid",
          "--moe-router-score-function sqrtsoftplus"
        }) {
      TopKRouter router =
          identity(
              experts,
              "--moe-router-topk 3 --moe-router-topk-scaling-factor 1.5 --moe-aux-loss-coeff 0.7"
                  + " --moe-z-loss-coeff 0.2 "
                  + score);
      Tensor weight = parameters.all().get(parameters.all().size() - 1).tensor();
      List<float[]> atOnce = results(router, weight, hidden, experts, false);
      List<float[]> inSteps = results(router, weight, hidden, experts, true);
      assertEquals(atOnce.size(), inSteps.size());
      for (int i = 0; i < atOnce.size(); i++) {
        assertEquals(atOnce.get(i).length, inSteps.get(i).length);
        for (int j = 0; j < atOnce.get(i).length; j++) {
          float expected = inSteps.get(i)[j];
          double bound = 1e-5 * Math.max(1, Math.abs(expected));
          assertEquals(atOnce.get(i)[j], expected, bound, score + " result " + i + ", " + j);
        }
      }
    }
  }
}
