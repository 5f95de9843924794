package moe4j.moe;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.function.Consumer;
import moe4j.kernels.experts.TopK;
import moe4j.moe.dispatch.AllToAll;
import moe4j.moe.dispatch.TokenDispatcher.Kind;
import moe4j.moe.experts.Expert;
import moe4j.moe.gate.Balance;
import moe4j.moe.gate.Gate;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.Layout;
import moe4j.parallel.Mappings;
import moe4j.parallel.RowExchange;
import moe4j.parallel.ThreadRanks;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Ranks without rows, experts of one's own, masks, counts over ranks, and what is refused. */
public final class MoeRanksEdgeTest {
  private static final String ALL_GATHER = "--moe-token-dispatcher-type allgather";
  private static final String PRE_SOFTMAX = " --moe-router-pre-softmax --moe-aux-loss-coeff 0.1";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(MoeRanksEdgeTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  Object[][] starved() {
    return new Object[][] {
      {new Layout(2, 1, 2, 1), false, ""},
      {new Layout(2, 1, 2, 1), false, "--moe-a2a-overlap-degree 2"},
      {new Layout(2, 1, 2, 1), false, ALL_GATHER},
      {new Layout(4, 1, 4, 1), false, "--add-expert-bias"},
      {new Layout(4, 2, 4, 1), true, "--add-expert-bias --moe-a2a-overlap-degree 3"},
      {new Layout(4, 2, 2, 2), true, ""},
      {new Layout(4, 2, 2, 2), false, "--moe-a2a-overlap-degree 2"},
      {new Layout(4, 2, 2, 2), true, ALL_GATHER},
    };
  }

  /** All tokens go to one expert, and most ranks have no rows at all. */
  @Test(dataProvider = "starved")
  public void aRankMayHaveNoRows(Layout layout, boolean sequence, String flags) {
    RankedLayer.of(
            p -> MoeRanksTest.layer(flags(flags, p) + " --moe-router-topk 1" + PRE_SOFTMAX, p),
            random,
            layout.data(),
            new long[] {8},
            new long[] {8})
        .ofInputs(x -> x.abs().add(new Scalar(0.5)))
        .with(favour(2))
        .compare(layout, sequence, true);
  }

  /** Has an expert get every token whose channels are positive. */
  private static Consumer<ParameterSet> favour(int expert) {
    return parameters -> {
      Tensor router = Models.parameter(parameters, "mlp.router.weight");
      try (NoGradGuard guard = new NoGradGuard()) {
        router.fill_(new Scalar(-0.0625));
        router.select(0, expert).fill_(new Scalar(0.0625));
      }
    };
  }

  @DataProvider
  Object[][] modules() {
    return new Object[][] {
      {new Layout(2, 1, 2, 1), false, Kind.ALL_TO_ALL, 1, false},
      {new Layout(2, 1, 2, 1), false, Kind.ALL_TO_ALL, 2, true},
      {new Layout(2, 2, 1, 1), true, Kind.ALL_TO_ALL, 1, false},
      {new Layout(4, 2, 4, 1), true, Kind.ALL_TO_ALL, 3, false},
      {new Layout(4, 1, 4, 1), false, Kind.ALL_TO_ALL, 1, true},
      {new Layout(4, 2, 2, 1), false, Kind.ALL_GATHER, 1, false},
      {new Layout(4, 1, 4, 1), false, Kind.ALL_GATHER, 1, true},
    };
  }

  /** Each expert another, of two inputs and two outputs, the second of which asks for nothing. */
  @Test(dataProvider = "modules")
  public void expertsOfOnesOwnAreSharedOut(
      Layout layout, boolean sequence, Kind kind, int overlap, boolean starved) {
    RankedLayer layer =
        RankedLayer.of(
            p -> ofModules(p, kind, overlap),
            random,
            layout.data(),
            new long[] {8, 3},
            new long[] {5, 3});
    (starved ? layer.ofInputs(Tensor::abs).with(favour(1)) : layer).compare(layout, sequence, true);
  }

  private static RankedLayer.Layer ofModules(ParameterScope parameters, Kind kind, int overlap) {
    boolean alone = parameters.groups().world().isAlone();
    MoeLayer layer =
        MoeLayer.builder(8, 4)
            .topk(1)
            .initMethodStd(0.5)
            .experts(MoeRanksEdgeTest::expert)
            .dispatcher(kind, alone ? 1 : overlap)
            .build(parameters);
    return (x, pass) -> layer.forward(x, null, pass);
  }

  private static Expert expert(int number, ParameterScope parameters) {
    Tensor weight = parameters.weight("mine", 0.5, 8, 5);
    return (rows, pass) ->
        List.of(rows.get(0).mm(weight).relu(), rows.get(1).mul(new Scalar(1.0 + number)));
  }

  /** The experts alone are trained, and some ranks have no rows: their peers wait for them. */
  @Test
  public void whatAsksForNoGradientGoesBackAllTheSame() {
    Tensor x = Models.normals(random, 1, 8, 8);
    ThreadRanks.run(
        new Layout(4, 1, 4, 1),
        false,
        groups -> {
          try (ParameterSet parameters =
              new ParameterSet(1, ScalarType.Float, new Device("cpu"), groups)) {
            Tensor chosen = Tensors.full(1, ScalarType.Long, new Device("cpu"), 8, 1);
            Gate gate = new FixedGate(chosen, torch.ones(8, 1), 4, 0);
            MoeLayer layer =
                MoeLayer.builder(8, 4)
                    .topk(1)
                    .gate((shape, scope) -> gate)
                    .experts(MoeRanksEdgeTest::expert)
                    .build(parameters.root().child("mlp"));
            Tensor y = layer.forward(List.of(x, x.narrow(2, 0, 3)), null, Pass.evaluation()).get(0);
            y.sum().backward();
            CustomFunction.settle();
            boolean has = parameters.all().get(0).tensor().grad().defined();
            assertEquals(has, groups.expert().rank() == 1);
          }
        });
  }

  @DataProvider
  Object[][] masks() {
    return new Object[][] {
      {new Layout(2, 2, 1, 1), false, ""},
      {new Layout(2, 2, 2, 1), true, ""},
      {new Layout(4, 4, 2, 1), true, "--moe-a2a-overlap-degree 2"},
      {new Layout(2, 2, 2, 1), false, ALL_GATHER},
      {new Layout(2, 2, 2, 1), true, ALL_GATHER},
      {
        new Layout(2, 2, 2, 1),
        true,
        "--moe-expert-capacity-factor 1 --moe-pad-expert-input-to-capacity"
      },
      {new Layout(2, 2, 2, 1), true, "--balance-strategy expert_choice"},
    };
  }

  /** Masked tokens are filled in, and no expert counts them, on whatever rank they are. */
  @Test(dataProvider = "masks")
  public void masksAreOfTheTokensThatTheLayerIsGiven(
      Layout layout, boolean sequence, String flags) {
    long[] values = random.ints(16, 0, 3).mapToLong(v -> v).toArray();
    Tensor all = Tensors.of(values, RankedLayer.ROWS, RankedLayer.SEQUENCE);
    RankedLayer.of(
            p -> {
              Group slices = p.groups().tokenSlices();
              Tensor own = Mappings.own(all, slices).contiguous();
              TokenMask mask = new TokenMask(own, Map.of(2, Tensors.of(new float[] {1.5f})));
              MoeLayer layer = MoeRanksTest.moe(flags(flags, p), p);
              return (x, pass) -> List.of(layer.forward(x.get(0), mask, pass));
            },
            random,
            layout.data(),
            new long[] {8},
            new long[] {8})
        .compare(layout, sequence, true);
  }

  /** Flags but for those of a dispatcher on one rank, which has nobody to send to. */
  private static String flags(String flags, ParameterScope parameters) {
    return parameters.groups().world().isAlone()
        ? flags.replaceAll("--moe-(a2a-overlap-degree|token-dispatcher-type) \\w+", "").strip()
        : flags;
  }

  /** The Switch loss with the tokens of all ranks' micro-batches so far. */
  @Test
  public void theGlobalLossCountsAllRanksTokens() {
    int steps = 2;
    Tensor weight = Models.normals(random, 8, 8);
    Tensor hidden = Models.normals(random, 2L * steps, 2, 8, 8);
    ThreadRanks.run(
        new Layout(4, 2, 1, 1),
        true,
        groups -> {
          ParameterSet parameters =
              new ParameterSet(1, ScalarType.Float, new Device("cpu"), groups);
          MoeLayer layer =
              MoeRanksTest.moe(
                  "--moe-router-load-balancing-type global_aux_loss --moe-aux-loss-coeff 0.1",
                  parameters.root().child("mlp"));
          try (NoGradGuard guard = new NoGradGuard()) {
            Models.parameter(parameters, "mlp.router.weight").copy_(weight);
          }
          Tensor tokens = Tensors.zeros(ScalarType.Float, new Device("cpu"), 8);
          for (int step = 0; step < steps; step++) {
            Pass pass = Pass.training(new StepRandom(1, 0, 2L * groups.data().rank(), 2));
            Tensor own = hidden.select(0, 2L * step + groups.data().rank());
            layer.forward(own.narrow(1, 4L * groups.tensor().rank(), 4), pass);
            for (int d = 0; d < 2; d++) {
              tokens.add_(Balance.counts(TopK.of(logits(hidden, weight, step, d), 2).indices(), 8));
            }
            Tensor mean = tokens.div(new Scalar(2.0 * (step + 1)));
            Tensor p = logits(hidden, weight, step, groups.data().rank()).softmax(1);
            double expected = Tensors.item(p.sum(0).mul(mean).sum()) * 8 / (2.0 * 16 * 16);
            assertEquals(Tensors.item(pass.losses().get(0).value()), expected, 1e-5);
          }
          parameters.close();
        });
  }

  private static Tensor logits(Tensor hidden, Tensor weight, int step, int d) {
    return hidden.select(0, 2L * step + d).flatten(0, 1).mm(weight.t());
  }

  /** Uneven rows, none among them, and that each way is the other's gradient. */
  @Test
  public void unevenRowsAreGatheredAndSummed() {
    for (long[] rows : new long[][] {{3, 0, 2}, {0, 0, 4}, {2, 2, 2}, {0, 0, 0}}) {
      ThreadRanks.run(
          new Layout(3, 3, 1, 1),
          false,
          groups -> {
            Group group = groups.tensor();
            int r = group.rank();
            Tensor x = Tensors.full(r + 1, ScalarType.Float, new Device("cpu"), rows[r], 2);
            x = x.set_requires_grad(true);
            Tensor all = RowExchange.gather(x, rows, group);
            assertEquals(all.size(0), rows[0] + rows[1] + rows[2]);
            long at = 0;
            for (int s = 0; s < 3; s++) {
              for (float value : Tensors.floats(all.narrow(0, at, rows[s]))) {
                assertEquals(value, s + 1f);
              }
              at += rows[s];
            }
            Tensor sums = RowExchange.reduceScatter(all.mul(new Scalar(r + 1.0)), rows, group);
            for (float value : Tensors.floats(sums)) {
              assertEquals(value, 6f * (r + 1));
            }
            sums.mul(new Scalar(r + 1.0)).sum().backward();
            for (float value : Tensors.floats(x.grad())) {
              assertEquals(value, 6f * (r + 1));
            }
          });
    }
  }

  @DataProvider
  Object[][] impossible() {
    return new Object[][] {
      {
        new Layout(2, 1, 1, 2),
        "--add-expert-bias",
        "--add-expert-bias needs --expert-tensor-parallel-size 1, not 2"
      },
      {
        new Layout(8, 1, 1, 8),
        "",
        "--moe-ffn-hidden-size 12 is no multiple of --expert-tensor-parallel-size 8"
      },
      {
        new Layout(3, 1, 3, 1),
        "",
        "--num-experts 8 is no multiple of --expert-model-parallel-size 3: 8 = 2 x 3 + 2"
      },
      {
        new Layout(2, 1, 2, 1),
        "--moe-a2a-overlap-degree 3",
        "--moe-a2a-overlap-degree 3 is not between 1 and --expert-model-parallel-size 2"
      },
      {
        Layout.SINGLE,
        "--moe-a2a-overlap-degree 2",
        "--moe-a2a-overlap-degree 2 is not between 1 and --expert-model-parallel-size 1"
      },
    };
  }

  @Test(dataProvider = "impossible")
  public void whatCannotBeDividedIsRefused(Layout layout, String flags, String sentence) {
    ThreadRanks.run(
        layout, false, groups -> assertEquals(refusal(() -> made(groups, flags)), sentence));
  }

  private static void made(Groups groups, String flags) {
    try (ParameterSet parameters =
        new ParameterSet(1, ScalarType.Float, new Device("cpu"), groups)) {
      MoeRanksTest.moe(flags, parameters.root().child("mlp"));
    }
  }

  private static String refusal(org.testng.Assert.ThrowingRunnable body) {
    return expectThrows(IllegalArgumentException.class, body).getMessage();
  }

  @Test
  public void ranksShareOutTokensThatTheyDivide() {
    ThreadRanks.run(
        new Layout(2, 2, 1, 1),
        false,
        groups -> {
          try (ParameterSet parameters =
              new ParameterSet(1, ScalarType.Float, new Device("cpu"), groups)) {
            MoeLayer layer = MoeRanksTest.moe("", parameters.root().child("mlp"));
            for (long[] shape : new long[][] {{5, 8}, {1, 5, 8}}) {
              String message = refusal(() -> layer.forward(torch.zeros(shape), Pass.evaluation()));
              assertTrue(
                  message.startsWith("--tensor-model-parallel-size 2 does not divide the 5 tokens"),
                  message);
            }
            Tensor output = layer.forward(torch.zeros(2, 3, 8), Pass.evaluation());
            assertEquals(output.shape(), new long[] {2, 3, 8});
          }
        });
  }

  @Test
  public void ownExpertsAreNotCut() {
    ThreadRanks.run(
        new Layout(2, 1, 1, 2),
        false,
        groups -> {
          try (ParameterSet parameters =
              new ParameterSet(1, ScalarType.Float, new Device("cpu"), groups)) {
            MoeLayerBuilder builder =
                MoeLayer.builder(8, 4).experts((number, p) -> expert(number, p));
            assertEquals(
                refusal(() -> builder.build(parameters.root().child("a"))),
                "experts of your own cannot be cut: they need --expert-tensor-parallel-size 1,"
                    + " not 2");
            Expert one = Expert.of(x -> x);
            MoeLayerBuilder list = MoeLayer.builder(8, 2).experts(List.of(one, one));
            assertEquals(
                refusal(() -> list.build(parameters.root().child("b"))),
                "a list of experts is one rank's: where 2 ranks share them out, give a factory");
          }
        });
  }

  @Test
  public void whatAsksTheDeviceIsNotCaptured() {
    ThreadRanks.run(
        new Layout(2, 1, 2, 1),
        false,
        groups -> {
          assertEquals(why("--num-experts 4", groups), Optional.of(AllToAll.ASKS));
          assertEquals(why("--num-experts 4", Groups.single()), Optional.empty());
          assertEquals(why("--num-experts 4 " + ALL_GATHER, groups), Optional.empty());
          assertEquals(
              why(
                  "--num-experts 4 --moe-expert-capacity-factor 1"
                      + " --moe-pad-expert-input-to-capacity",
                  groups),
              Optional.empty());
          assertEquals(
              why("--num-experts 4 --balance-strategy expert_choice", groups), Optional.empty());
          assertEquals(Moe.whyNotCaptured(MoeConfig.dense(), groups), Optional.empty());
        });
  }

  private static Optional<String> why(String flags, Groups groups) {
    return Moe.whyNotCaptured(MoeConfig.parse(flags.split(" ")), groups);
  }
}
