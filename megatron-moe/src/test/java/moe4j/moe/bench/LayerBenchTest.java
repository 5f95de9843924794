package moe4j.moe.bench;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.kernels.bench.Ceilings;
import moe4j.kernels.bench.WorkTimer;
import moe4j.moe.MoeConfig;
import moe4j.moe.bench.LayerBench.Way;
import moe4j.moe.bench.LayerErrors.Parts;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The bench of one layer and of what it is compared with, on the CPU and small. */
public class LayerBenchTest {
  private final Device device = Scopes.keep(() -> new Device("cpu"));

  /** Rates of round numbers. */
  private static final Ceilings CEILINGS = new Ceilings("a product", 700e12, 4e12);

  private LayerBench.Setting setting(ScalarType dtype) {
    return new LayerBench.Setting(
        device, dtype, true, new WorkTimer(device, 0, 2, 1, false), CEILINGS);
  }

  @DataProvider
  public Object[][] layers() {
    MoeConfig plain = MoeConfig.builder().numExperts(5).moeFfnHiddenSize(24).build();
    MoeConfig shared =
        plain.toBuilder()
            .moeRouterTopk(3)
            .moeSharedExpertIntermediateSize(16)
            .moeSharedExpertGate(true)
            .build();
    MoeConfig biased = plain.toBuilder().addExpertBias(true).moeRouterTopk(5).build();
    return new Object[][] {
      {Activation.GELU, plain, false, 0.0},
      {Activation.SWIGLU, shared, false, 0.0},
      {Activation.SQUARED_RELU, biased, false, 0.0},
      {Activation.RELU, biased, true, 0.3},
      {Activation.GELU, shared, true, 0.3},
    };
  }

  private static BenchShape shape(
      Activation activation, MoeConfig moe, boolean bias, double dropout) {
    LayerShape model = new LayerShape(1, 16, 24, activation, bias, 0.5, 0.5, dropout);
    return new BenchShape("", 40, model, moe);
  }

  /** Other ways' outputs, and the gradients of the layer's own way, with dropout where asked. */
  @Test(dataProvider = "layers")
  public void allWaysComputeTheSameLayer(
      Activation activation, MoeConfig moe, boolean bias, double dropout) {
    BenchShape shape = shape(activation, moe, bias, dropout);
    try (LayerBench bench = new LayerBench(shape, setting(ScalarType.Float));
        PointerScope scope = new PointerScope()) {
      Tensor given = bench.output(Way.GIVEN).flatten();
      for (Way way : List.of(Way.NAIVE, Way.SORTED)) {
        Parts parts = new Parts(way.label());
        parts.add(bench.output(way).flatten(), given);
        assertTrue(parts.atOnce().whole() < 1e-5, parts.atOnce().toString());
      }
      assertEquals(bench.output(Way.DENSE).shape(), bench.output(Way.LAYER).shape());
      LayerErrors errors = bench.errors();
      assertTrue(errors.within(1e-5), errors.toString());
      int biases = moe.addExpertBias() ? 2 : 0;
      int ofShared = shape.sharedHiddenSize() > 0 ? 3 + (bias ? 2 : 0) : 0;
      assertEquals(errors.errors().size(), 5 + biases + ofShared, errors.toString());
    }
  }

  @Test
  public void bf16IsComparedWithFp32() {
    BenchShape shape = BenchShape.named("X64").small();
    try (LayerBench bench = new LayerBench(shape, setting(ScalarType.BFloat16))) {
      LayerErrors errors = bench.errors();
      assertTrue(errors.toString().startsWith("errors against fp32: output "), errors.toString());
      assertTrue(errors.within(2e-2) && !errors.within(1e-4), errors.toString());
    }
  }

  @Test
  public void timingLeavesNothingBehind() {
    BenchShape shape = shape(Activation.GELU, small(8), false, 0);
    time(shape);
    long pointers = Scopes.livePointers();
    for (LayerTimes times : time(shape)) {
      assertTrue(times.median() > 0 && times.kept() < 0, times.toString());
    }
    // Fewer, where Java's collector has come by what other tests left.
    assertTrue(Scopes.livePointers() <= pointers, Scopes.livePointers() + " > " + pointers);
  }

  private static MoeConfig small(int experts) {
    return MoeConfig.builder()
        .numExperts(experts)
        .moeFfnHiddenSize(24)
        .moeAuxLossCoeff(0.01)
        .build();
  }

  private List<LayerTimes> time(BenchShape shape) {
    List<LayerTimes> all = new ArrayList<>();
    try (LayerBench bench = new LayerBench(shape, setting(ScalarType.Float))) {
      for (Way way : bench.ways()) {
        all.addAll(bench.time(way));
      }
    }
    return all;
  }

  /** Of what a capacity drops there are no FLOPs; the layer with given routes drops nothing. */
  @Test
  public void flopsAreOfRowsThatAreComputed() {
    MoeConfig dropping =
        small(8).toBuilder()
            .moeAuxLossCoeff(0.0)
            .moeExpertCapacityFactor(0.5)
            .moePadExpertInputToCapacity(true)
            .build();
    BenchShape shape = shape(Activation.GELU, dropping, false, 0);
    // 40 tokens, 2 experts each of 8, and half of their mean: 5 rows an expert.
    double products = 2.0 * 2 * 16 * 24;
    try (LayerBench bench = new LayerBench(shape, setting(ScalarType.Float))) {
      List<LayerTimes> layer = bench.time(Way.LAYER);
      assertEquals(layer.get(0).floor().flops(), 40 * products);
      assertEquals(layer.get(1).floor().flops(), 3 * 40 * products);
      assertEquals(bench.time(Way.GIVEN).get(0).floor().flops(), 80 * products);
      assertEquals(bench.time(Way.DENSE).get(0).floor().flops(), 80 * products);
    }
    MoeConfig gated = small(2).toBuilder().moeAuxLossCoeff(0.0).balanceStrategy("swipe").build();
    try (LayerBench bench =
        new LayerBench(shape(Activation.GELU, gated, false, 0), setting(ScalarType.Float))) {
      assertEquals(bench.counted(), "");
    }
  }

  /** What neither is zero nor a number is an error above every bound. */
  @Test
  public void errorsAreSeen() {
    try (PointerScope scope = new PointerScope()) {
      Tensor expected = Tensors.of(new float[] {3, 4}).to(ScalarType.Double);
      Parts parts = new Parts("fc1");
      parts.add(Tensors.of(new float[] {3, 4.5f}), expected);
      parts.addZeros(Tensors.of(new float[] {0, 0}));
      assertEquals(parts.byExpert().whole(), 0.1, 1e-7);
      assertEquals(parts.byExpert().worst(), 0.1, 1e-7);
      assertTrue(new LayerErrors("fp32", List.of(parts.byExpert())).within(0.11));
      assertFalse(new LayerErrors("fp32", List.of(parts.byExpert())).within(0.09));
      for (float wrong : new float[] {1e-30f, Float.NaN}) {
        Parts idle = new Parts("fc1");
        idle.add(expected, expected);
        idle.addZeros(Tensors.of(new float[] {0, wrong}));
        assertFalse(new LayerErrors("fp32", List.of(idle.byExpert())).within(1e9));
      }
      Parts poisoned = new Parts("output");
      poisoned.add(Tensors.of(new float[] {3, Float.NaN}), expected);
      assertFalse(new LayerErrors("fp32", List.of(poisoned.atOnce())).within(1e9));
    }
  }

  /** k different experts for each token, all with the same chance. */
  @Test
  public void routesAreBalancedAndRandom() {
    int experts = 12;
    int topk = 3;
    int tokens = 4000;
    try (GivenRoutes given = new GivenRoutes(tokens, experts, topk, Seeds.seed(), device)) {
      long[] choices = Tensors.longs(given.choices());
      float[] weights = Tensors.floats(given.weights());
      int[][] counts = new int[topk][experts];
      for (int token = 0; token < tokens; token++) {
        long[] own = Arrays.copyOfRange(choices, token * topk, (token + 1) * topk);
        assertEquals(Arrays.stream(own).distinct().count(), topk, Arrays.toString(own));
        double sum = 0;
        for (int i = 0; i < topk; i++) {
          counts[i][(int) own[i]]++;
          sum += weights[token * topk + i];
        }
        assertEquals(sum, 1, 1e-6);
      }
      for (int[] place : counts) {
        for (int count : place) {
          // Six deviations of a binomial around the mean of 333.
          assertTrue(Math.abs(count - 333) < 6 * 17.5, Arrays.toString(place));
        }
      }
    }
  }

  /** By hand, at 700 TFLOP/s and 4 TB/s: of some shapes memory is the floor, of others products. */
  @Test
  public void floorsAreThoseOfTheProducts() {
    String[] names = {"A", "C96", "G", "D"};
    double[] forward = {0.495, 0.449, 0.48, 11.1};
    double[] both = {1.54, 1.37, 1.40, 33.2};
    for (int i = 0; i < names.length; i++) {
      BenchShape shape = BenchShape.named(names[i]);
      double one = 1e3 * LayerFloor.experts(shape, false, 2, CEILINGS).seconds();
      assertEquals(one, forward[i], 0.01 * forward[i], names[i]);
      double two = 1e3 * LayerFloor.experts(shape, true, 2, CEILINGS).seconds();
      assertEquals(two, both[i], 0.01 * both[i], names[i]);
    }
    BenchShape f = BenchShape.named("F");
    LayerFloor experts = LayerFloor.experts(f, true, 2, CEILINGS);
    LayerFloor dense = LayerFloor.dense(f, true, 2, CEILINGS);
    assertEquals(dense.flops(), 3 * 4.0 * 32_768 * 768 * 8 * 384);
    assertEquals(experts.flops(), dense.flops());
    assertTrue(experts.bytes() > dense.bytes() && experts.seconds() > dense.seconds());
  }

  @Test
  public void namedShapesAreWhatTheyAre() {
    assertEquals(
        BenchShape.named("X64").toString(),
        "shape X64: 11264 tokens of 512 channels; experts: 64 of 1024 channels, 2 a token, relu,"
            + " biases, dropout of 0.1; dense: 2048 channels");
    assertEquals(
        BenchShape.named("F").toString(),
        "shape F: 32768 tokens of 768 channels; experts: 256 of 384 channels, 7 a token, and a"
            + " shared one of 384, gelu; dense: 3072 channels");
    for (String name : BenchShape.names()) {
      BenchShape small = BenchShape.named(name).small();
      assertTrue(small.tokens() <= 512 && small.expertHiddenSize() <= 896, small.toString());
      assertEquals(small.moe().moeRouterTopk(), BenchShape.named(name).moe().moeRouterTopk());
      assertTrue(SortedGroups.takes(small, ScalarType.BFloat16), small.toString());
    }
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> BenchShape.named("E")).getMessage(),
        "--shape takes A, C8, C32, C96, C128, B, D, G, X64, X128, F, not 'E'");
  }
}
