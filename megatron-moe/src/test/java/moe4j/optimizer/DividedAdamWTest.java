package moe4j.optimizer;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CyclicBarrier;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import moe4j.optimizer.DividedModel.Draw;
import moe4j.optimizer.DividedModel.Way;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.Layout;
import moe4j.parallel.ThreadRanks;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Parameter;
import moe4j.transformer.Parameter.Piece;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Ranks against one that has the whole model and is given the sums of their gradients. */
public class DividedAdamWTest {
  private static final List<Layout> LAYOUTS =
      List.of(
          new Layout(2, 1, 1, 1),
          new Layout(2, 2, 1, 1),
          new Layout(4, 2, 1, 2),
          new Layout(4, 1, 2, 1),
          new Layout(2, 1, 1, 2),
          new Layout(8, 2, 2, 2),
          new Layout(8, 4, 4, 1));

  /** Buckets of a few parameters, some parameters larger than one. */
  private static final List<String> FLAGS =
      List.of(
          "",
          "--ddp-bucket-size 150 --overlap-grad-reduce",
          "--use-distributed-optimizer",
          "--use-distributed-optimizer --ddp-bucket-size 150 --overlap-grad-reduce");

  @DataProvider
  public Object[][] ways() {
    List<Object[]> ways = new ArrayList<>();
    for (ScalarType dtype : List.of(ScalarType.Float, ScalarType.BFloat16)) {
      for (Layout layout : LAYOUTS) {
        for (String flags : FLAGS) {
          ways.add(new Object[] {new Way(layout, dtype, flags)});
        }
      }
    }
    return ways.toArray(new Object[0][]);
  }

  @DataProvider
  public Object[][] someWays() {
    return Arrays.stream(ways())
        .filter(
            w -> {
              Layout layout = ((Way) w[0]).layout();
              return layout.equals(LAYOUTS.get(0)) || layout.equals(LAYOUTS.get(5));
            })
        .toArray(Object[][]::new);
  }

  /** A rank's model and optimizer. */
  private record Rank(Groups groups, ParameterSet parameters, AdamW optimizer) {

    void step(int step, Draw draw) {
      DividedModel.microBatches(optimizer, parameters, step, draw);
      optimizer.step();
    }

    double norm() {
      return Tensors.item(optimizer.gradientNorm());
    }
  }

  @FunctionalInterface
  private interface Body {
    void run(Rank rank) throws Exception;
  }

  private static void onRanks(Way way, String flags, Body body) {
    onRanks(way, flags, groups -> groups, body);
  }

  private static void onRanks(Way way, String flags, UnaryOperator<Groups> through, Body body) {
    ThreadRanks.run(
        way.layout(),
        false,
        plain -> {
          Groups groups = through.apply(plain);
          try (ParameterSet parameters = DividedModel.parameters(groups, way.dtype())) {
            DividedModel.randomise(parameters);
            try (AdamW optimizer =
                new AdamW(
                    parameters,
                    DividedModel.optimizer(flags),
                    DividedModel.MICRO_BATCHES,
                    way.config())) {
              body.run(new Rank(groups, parameters, optimizer));
            }
          }
        });
  }

  /** What the one rank has after its steps. */
  private record Expected(
      Map<String, float[]> master,
      Map<String, float[]> expAvg,
      Map<String, float[]> expAvgSq,
      Map<String, float[]> parameter,
      List<Double> norms,
      List<Double> zeros,
      double parametersNorm) {}

  private static Expected expected(Way way, String flags, int steps, Draw draw) {
    Expected[] result = new Expected[1];
    onRanks(
        Way.whole(way.dtype()),
        flags,
        one -> {
          AdamW optimizer = one.optimizer();
          optimizer.countZeros();
          List<Double> norms = new ArrayList<>();
          List<Double> zeros = new ArrayList<>();
          for (int step = 0; step < steps; step++) {
            DividedModel.microBatchesOfAll(optimizer, one.parameters(), way.layout(), step, draw);
            optimizer.step();
            norms.add(one.norm());
            zeros.add(Tensors.item(optimizer.gradientZeros()));
          }
          result[0] =
              new Expected(
                  DividedModel.byName(optimizer, OptimizerState::master),
                  DividedModel.byName(optimizer, OptimizerState::expAvg),
                  DividedModel.byName(optimizer, OptimizerState::expAvgSq),
                  DividedModel.byName(optimizer, s -> s.parameter().tensor()),
                  norms,
                  zeros,
                  optimizer.parametersNorm());
        });
    return result[0];
  }

  private static Tensor local(Parameter parameter, Map<String, float[]> whole) {
    Map<String, Tensor> tensors = new HashMap<>();
    for (Piece piece : parameter.pieces()) {
      long[] shape = piece.globalShape().stream().mapToLong(Long::longValue).toArray();
      tensors.put(piece.name(), Tensors.of(whole.get(piece.name()), shape));
    }
    return DividedModel.part(parameter, tensors::get);
  }

  private static void check(
      String what, Rank rank, Function<OptimizerState, Tensor> actual, Map<String, float[]> whole) {
    for (OptimizerState state : rank.optimizer().states()) {
      Scopes.run(
          () ->
              assertClose(
                  what + " of " + state.parameter().name(),
                  Tensors.floats(actual.apply(state)),
                  Tensors.floats(state.of(local(state.parameter(), whole))),
                  2e-6,
                  1e-2));
    }
  }

  private static void checkParameters(Rank rank, Map<String, float[]> whole) {
    for (Parameter parameter : rank.parameters().all()) {
      boolean bf16 = Tensors.dtype(parameter.tensor()) != ScalarType.Float;
      Scopes.run(
          () ->
              assertClose(
                  parameter.name(),
                  Tensors.floats(parameter.tensor()),
                  Tensors.floats(local(parameter, whole)),
                  // A master close to the middle may be rounded to either side.
                  bf16 ? 2e-3 : 2e-6,
                  1e-2));
    }
  }

  /** Clipping is active in some steps, and decay throughout. */
  private static float[] varied(String name, int source, int microBatch, int size) {
    float[] values = DividedModel.normals(name, source, microBatch, size);
    float factor = microBatch / DividedModel.MICRO_BATCHES == 1 ? 0x1p-10f : 1;
    for (int i = 0; i < size; i++) {
      values[i] *= factor;
    }
    return values;
  }

  @Test(dataProvider = "ways")
  public void ranksTakeTheStepsOfOne(Way way) {
    String flags = "--weight-decay 0.1 --adam-beta2 0.95 --clip-grad 1";
    Expected expected = expected(way, flags, 3, DividedAdamWTest::varied);
    assertTrue(expected.norms().get(0) > 1 && expected.norms().get(1) < 1);
    Map<Integer, List<Double>> norms = new ConcurrentHashMap<>();
    onRanks(
        way,
        flags,
        rank -> {
          rank.optimizer().countZeros();
          List<Double> own = new ArrayList<>();
          for (int step = 0; step < 3; step++) {
            rank.step(step, DividedAdamWTest::varied);
            own.add(rank.norm());
            assertEquals(
                rank.norm(), expected.norms().get(step), 1e-6 * expected.norms().get(step));
            assertEquals(
                Tensors.item(rank.optimizer().gradientZeros()),
                expected.zeros().get(step),
                "zeros");
          }
          double norm = rank.optimizer().parametersNorm();
          assertEquals(norm, expected.parametersNorm(), 1e-6 * norm);
          own.add(norm);
          norms.put(rank.groups().world().rank(), own);
          check("master", rank, OptimizerState::master, expected.master());
          check("exp_avg", rank, OptimizerState::expAvg, expected.expAvg());
          check("exp_avg_sq", rank, OptimizerState::expAvgSq, expected.expAvgSq());
          checkParameters(rank, expected.parameter());
          assertEquals(Tensors.item(rank.optimizer().stepCounter()), 3.0);
        });
    assertEquals(norms.values().stream().distinct().count(), 1, "bits of the norms: " + norms);
  }

  /** Each rank holds about its share of the state, and no element is held twice. */
  @Test
  public void stateIsDivided() {
    Way way = new Way(new Layout(4, 1, 1, 1), ScalarType.BFloat16, "--use-distributed-optimizer");
    Map<Integer, Long> held = new ConcurrentHashMap<>();
    Map<Integer, Integer> cut = new ConcurrentHashMap<>();
    long[] all = new long[1];
    onRanks(
        way,
        "",
        rank -> {
          long sum = 0;
          int segments = 0;
          for (OptimizerState state : rank.optimizer().states()) {
            assertEquals(state.expAvg().numel(), state.to() - state.from());
            assertEquals(state.master().numel(), state.to() - state.from());
            sum += state.to() - state.from();
            segments += state.to() - state.from() < state.parameter().tensor().numel() ? 1 : 0;
          }
          all[0] = rank.parameters().elements();
          held.put(rank.groups().world().rank(), sum);
          cut.put(rank.groups().world().rank(), segments);
        });
    assertEquals(held.values().stream().mapToLong(Long::longValue).sum(), all[0]);
    held.values().forEach(n -> assertTrue(n < 0.5 * all[0], held.toString()));
    assertTrue(cut.values().stream().mapToInt(Integer::intValue).sum() > 1, "segments: " + cut);
  }

  /** Where the loss is divided by the micro-batches beforehand, the mean is exact. */
  @Test(dataProvider = "someWays")
  public void sumsOverRanksAreExact(Way way) {
    Draw encoded =
        (name, source, microBatch, size) -> {
          float[] values = new float[size];
          Arrays.fill(values, (float) Math.pow(2, source - 3) * (microBatch + 1));
          return values;
        };
    // The first moment is the gradient then.
    onRanks(
        way,
        "--adam-beta1 0 --clip-grad 0",
        rank -> {
          rank.step(0, encoded);
          for (OptimizerState state : rank.optimizer().states()) {
            Layout layout = way.layout();
            boolean partial = state.parameter().partial();
            int ranks =
                state.parameter().isOfExperts()
                    ? layout.expertData()
                    : partial ? layout.world() : layout.data();
            float sum = (float) ((Math.pow(2, ranks) - 1) / 8 * (1 + 2));
            for (float value : Tensors.floats(state.expAvg())) {
              assertEquals(value, sum, state.parameter().name());
            }
          }
        });
  }

  /** Experts that see no token on some rank, and a parameter that nobody's loss sees. */
  @Test(dataProvider = "someWays")
  public void parametersWithoutGradientsHangNothing(Way way) {
    Draw holes =
        (name, source, microBatch, size) -> {
          boolean idle = name.contains("experts") && source == 0 && microBatch >= 2;
          boolean unused =
              name.equals("1.row.weight") || (name.equals("0.glu.bias") && source == 1);
          return idle || unused ? null : DividedModel.normals(name, source, microBatch, size);
        };
    Expected expected = expected(way, "", 3, holes);
    onRanks(
        way,
        "",
        rank -> {
          for (int step = 0; step < 3; step++) {
            rank.step(step, holes);
            assertEquals(
                rank.norm(), expected.norms().get(step), 1e-6 * expected.norms().get(step));
          }
          check("exp_avg", rank, OptimizerState::expAvg, expected.expAvg());
          checkParameters(rank, expected.parameter());
        });
  }

  /** One rank's NaN in its first micro-batch: no rank takes the step, and all know whose it was. */
  @Test(dataProvider = "someWays")
  public void oneRanksNanIsEveryonesSkip(Way way) {
    int culprit = way.layout().world() - 1;
    onRanks(
        way,
        "--weight-decay 0.1",
        rank -> {
          int own = rank.groups().world().rank();
          rank.step(0, DividedModel::normals);
          assertEquals(Tensors.item(rank.optimizer().foundInf()), 0.0);
          List<float[]> before = everything(rank);
          rank.step(
              1,
              (name, source, microBatch, size) -> {
                float[] values = DividedModel.normals(name, source, microBatch, size);
                if (own == culprit && microBatch == 2 && name.contains("experts.local_experts.3")) {
                  values[values.length - 1] = Float.NaN;
                }
                return values;
              });
          assertEquals(Tensors.item(rank.optimizer().foundInf()), 1.0);
          assertFalse(Double.isFinite(rank.norm()));
          List<float[]> after = everything(rank);
          for (int i = 0; i < before.size(); i++) {
            assertEquals(after.get(i), before.get(i));
          }
          rank.step(2, DividedModel::normals);
          assertEquals(Tensors.item(rank.optimizer().foundInf()), 0.0);
          assertEquals(Tensors.item(rank.optimizer().stepCounter()), 2.0);
          // Also a step later.
          assertEquals(rank.optimizer().nonFiniteRanks(), List.of(culprit));
        });
  }

  private static List<float[]> everything(Rank rank) {
    List<float[]> all = new ArrayList<>();
    rank.parameters().all().forEach(p -> all.add(Tensors.floats(p.tensor())));
    for (OptimizerState state : rank.optimizer().states()) {
      all.add(Tensors.floats(state.master()));
      all.add(Tensors.floats(state.expAvg()));
      all.add(Tensors.floats(state.expAvgSq()));
    }
    return all;
  }

  @Test(dataProvider = "someWays")
  public void stepsLeaveNothingBehind(Way way) {
    // The count is the process's: it is taken while no rank works.
    CyclicBarrier barrier = new CyclicBarrier(way.layout().world());
    onRanks(
        way,
        "",
        rank -> {
          long[] counts = new long[3];
          for (int round = 0; round < 3; round++) {
            int first = 2 * round;
            Scopes.run(() -> rank.step(first, DividedModel::normals));
            Scopes.run(() -> rank.step(first + 1, DividedModel::normals));
            rank.optimizer().nonFiniteRanks();
            barrier.await();
            counts[round] = Scopes.livePointers();
            barrier.await();
          }
          assertTrue(counts[2] <= counts[1], Arrays.toString(counts));
          for (Parameter parameter : rank.parameters().all()) {
            assertFalse(parameter.tensor().grad().defined());
          }
        });
  }

  /** A group that tells how many elements it is asked to sum. */
  private record Told(Group group, List<Long> sums) implements Group {
    @Override
    public int rank() {
      return group.rank();
    }

    @Override
    public int size() {
      return group.size();
    }

    @Override
    public boolean isCapturable() {
      return group.isCapturable();
    }

    @Override
    public Pending allReduce(Tensor tensor, Reduction reduction) {
      sums.add(tensor.numel());
      return group.allReduce(tensor, reduction);
    }

    @Override
    public Pending allGather(Tensor output, Tensor input) {
      return group.allGather(output, input);
    }

    @Override
    public Pending reduceScatter(Tensor output, Tensor input) {
      sums.add(input.numel());
      return group.reduceScatter(output, input);
    }

    @Override
    public Pending allToAll(Tensor output, Tensor input, long[] outputRows, long[] inputRows) {
      return group.allToAll(output, input, outputRows, inputRows);
    }

    @Override
    public Pending broadcast(Tensor tensor, int root) {
      return group.broadcast(tensor, root);
    }
  }

  @DataProvider
  public Object[][] reductions() {
    return new Object[][] {
      {"", false},
      {"--use-distributed-optimizer", false},
      {"--ddp-bucket-size 150 --overlap-grad-reduce", true},
      {"--use-distributed-optimizer --ddp-bucket-size 150 --overlap-grad-reduce", true},
    };
  }

  /** Overlapping, buckets begin in the last backward and in none before it. */
  @Test(dataProvider = "reductions")
  public void sumsBeginWhereTheyShould(String reduction, boolean overlap) {
    Way way = new Way(new Layout(2, 1, 1, 1), ScalarType.Float, reduction);
    Map<Integer, List<Long>> order = new ConcurrentHashMap<>();
    onRanks(
        way,
        "",
        g -> {
          List<Long> sums = new ArrayList<>();
          order.put(g.world().rank(), sums);
          return new Groups(
              g.layout(),
              g.sequenceParallel(),
              g.world(),
              g.tensor(),
              new Told(g.data(), sums),
              g.expert(),
              g.expertTensor(),
              g.expertBlock(),
              new Told(g.expertData(), sums));
        },
        rank -> {
          List<Long> sums = order.get(rank.groups().world().rank());
          for (boolean last : new boolean[] {false, true}) {
            rank.optimizer().beforeBackward(last);
            Scopes.run(
                () -> {
                  Tensor loss = null;
                  for (Parameter parameter : rank.parameters().all()) {
                    Tensor sum = parameter.tensor().sum();
                    loss = loss == null ? sum : loss.add(sum);
                  }
                  loss.backward();
                });
            assertEquals(!sums.isEmpty(), overlap && last);
            rank.optimizer().accumulate();
          }
          int begun = sums.size();
          rank.optimizer().step();
          assertEquals(sums.size() == begun, overlap);
          assertTrue(overlap ? begun > 4 : sums.size() == 2, sums.toString());
        });
    assertEquals(order.get(1), order.get(0));
  }

  /** Another order of hooks on every rank is the same order of sums. */
  @Test
  public void bucketsBeginInOneOrder() {
    Way way =
        new Way(
            new Layout(2, 1, 1, 1), ScalarType.Float, "--ddp-bucket-size 1 --overlap-grad-reduce");
    onRanks(
        way,
        "--adam-beta1 0 --clip-grad 0",
        rank -> {
          int own = rank.groups().world().rank();
          List<Parameter> all = new ArrayList<>(rank.parameters().all());
          // A chain: the backward comes to the parameters in its order, rank 1's being another.
          java.util.Collections.shuffle(all, new java.util.Random(own));
          rank.optimizer().beforeBackward(true);
          Scopes.run(
              () -> {
                Tensor chain = null;
                for (Parameter parameter : all) {
                  Tensor sum = parameter.tensor().sum();
                  chain = chain == null ? sum : chain.add(sum);
                }
                chain.backward();
                rank.optimizer().accumulate();
              });
          rank.optimizer().step();
          for (OptimizerState state : rank.optimizer().states()) {
            for (float value : Tensors.floats(state.expAvg())) {
              assertEquals(value, 2f, state.parameter().name());
            }
          }
        });
  }

  /** Forgetting to say which micro-batch is the last would train on unsummed gradients. */
  @Test
  public void theLastMicroBatchHasToBeAnnounced() {
    Way way = new Way(new Layout(2, 1, 1, 1), ScalarType.Float, "--overlap-grad-reduce");
    onRanks(
        way,
        "",
        rank -> {
          assertTrue(rank.optimizer().lastMicroBatchDiffers());
          assertThrows(IllegalStateException.class, rank.optimizer()::update);
        });
  }

  /** A failure inside a hook comes out as it is, and not as libtorch's. */
  @Test
  public void aSecondGradientIsRefused() {
    Way way =
        new Way(
            new Layout(2, 1, 1, 1), ScalarType.Float, "--ddp-bucket-size 1 --overlap-grad-reduce");
    onRanks(
        way,
        "",
        rank -> {
          Tensor weight = rank.parameters().all().get(rank.parameters().all().size() - 1).tensor();
          rank.optimizer().beforeBackward(true);
          Scopes.run(() -> weight.sum().backward());
          Scopes.run(() -> weight.sum().backward());
          IllegalStateException e =
              org.testng.Assert.expectThrows(
                  IllegalStateException.class, rank.optimizer()::accumulate);
          assertTrue(e.getMessage().contains("final.weight"), e.getMessage());
        });
  }
}
