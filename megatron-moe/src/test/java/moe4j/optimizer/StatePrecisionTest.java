package moe4j.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointInfo;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Section;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.kernels.optimizer.Moment;
import moe4j.kernels.optimizer.MomentType;
import moe4j.model.ModelState;
import moe4j.parallel.Groups;
import moe4j.parallel.Layout;
import moe4j.parallel.ParallelConfig;
import moe4j.parallel.ThreadRanks;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The ways in which the optimizer's state is kept: resumed, exchanged, divided. */
public class StatePrecisionTest {
  private static final String AWARE = "--use-precision-aware-optimizer ";
  private static final String BF16 = AWARE + "--exp-avg-dtype bf16 --exp-avg-sq-dtype bf16";
  private static final String FP8 = AWARE + "--exp-avg-dtype fp8 --exp-avg-sq-dtype fp8";
  private static final String SPLIT = " --master-storage remainder";

  private Path directory;

  @BeforeMethod
  public void open() throws IOException {
    directory = Files.createTempDirectory("state");
  }

  @AfterMethod
  public void close() throws IOException {
    try (var files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  private static ParameterSet parameters(Groups groups, ScalarType dtype) {
    ParameterSet set = new ParameterSet(Seeds.seed(), dtype, new Device("cpu"), groups);
    ParameterScope root = set.root();
    root.weight("wide.weight", 1, 64, 128);
    root.bias("wide.bias", 64);
    root.weight("odd.weight", 1, 77, 101);
    root.weight("small.weight", 1, 8, 9);
    return set;
  }

  private static AdamW optimizer(ParameterSet parameters, String flags, ParallelConfig parallel) {
    String line = "--lr 0.01 --clip-grad 0 --adam-beta2 0.95 " + flags;
    return new AdamW(
        parameters, Flags.parse(OptimizerConfig.class, Refusals.words(line.strip())), 2, parallel);
  }

  /** Multiples of 2^-4 below 4, of which bf16 holds sums of a few exactly, in any order. */
  private static Tensor gradient(Parameter p, int step, int source) {
    Random random = new Random(Seeds.seed() + 31L * p.name().hashCode() + 97L * step + source);
    float[] values = Seeds.normals(random, (int) p.tensor().numel());
    for (int i = 0; i < values.length; i++) {
      values[i] = Math.round(Math.max(-2, Math.min(2, values[i])) * 16) / 16f;
    }
    return Tensors.of(values, p.tensor().shape()).to(Tensors.dtype(p.tensor()));
  }

  private static void step(AdamW optimizer, ParameterSet parameters, int step, int... sources) {
    for (int i = 0; i < sources.length; i++) {
      int source = sources[i];
      optimizer.beforeBackward(i == sources.length - 1);
      Scopes.run(
          () -> {
            Tensor loss = null;
            for (Parameter p : parameters.all()) {
              Tensor part = p.tensor().mul(gradient(p, step, source)).sum();
              loss = loss == null ? part : loss.add(part);
            }
            loss.backward();
            optimizer.accumulate();
          });
    }
    optimizer.step();
  }

  private static Map<String, float[]> state(AdamW optimizer, ParameterSet parameters) {
    Map<String, float[]> all = new LinkedHashMap<>();
    for (OptimizerState s : optimizer.states()) {
      for (OptimizerState.Kind kind : OptimizerState.Kind.values()) {
        Scopes.run(() -> all.put(kind + s.parameter().name(), Tensors.floats(s.read(kind))));
      }
    }
    for (Parameter p : parameters.all()) {
      all.put(p.name(), Tensors.floats(p.tensor()));
    }
    return all;
  }

  private static void assertSameState(Map<String, float[]> actual, Map<String, float[]> expected) {
    assertEquals(actual.keySet(), expected.keySet());
    expected.forEach((name, values) -> assertEquals(actual.get(name), values, name));
  }

  private interface Body {
    void run(AdamW optimizer, ParameterSet parameters) throws IOException;
  }

  private static void with(ScalarType dtype, String flags, Body body) throws IOException {
    try (ParameterSet parameters = parameters(Groups.single(), dtype);
        AdamW optimizer = optimizer(parameters, flags, ParallelConfig.single())) {
      body.run(optimizer, parameters);
    }
  }

  private void save(AdamW optimizer, ParameterSet parameters) throws IOException {
    var empty = JsonNodeFactory.instance.objectNode();
    new CheckpointStore(directory, -1)
        .save(
            new CheckpointInfo(1, 0, 0, 0, 1, Map.of(), empty, "", "", empty),
            ModelState.model(parameters),
            ModelState.optimizer(optimizer));
  }

  private void load(AdamW optimizer, ParameterSet parameters) throws IOException {
    try (Checkpoint checkpoint =
        new CheckpointStore(directory, -1)
            .loadLatest(EnumSet.allOf(Section.class), warning -> {})
            .orElseThrow()) {
      ModelState.loadModel(checkpoint, parameters);
      ModelState.loadOptimizer(checkpoint, optimizer);
    }
  }

  @DataProvider
  public Object[][] choices() {
    ScalarType f = ScalarType.Float;
    ScalarType b = ScalarType.BFloat16;
    return new Object[][] {
      {f, ""},
      {f, FP8},
      {f, BF16},
      {b, ""},
      {b, SPLIT},
      {b, BF16 + SPLIT},
      {b, FP8 + SPLIT},
      {b, FP8},
      {b, AWARE + "--exp-avg-dtype fp8 --exp-avg-sq-dtype bf16 --main-grads-dtype bf16"},
    };
  }

  /** A checkpoint is in fp32; what it is made of comes back with its bits, and so do the draws. */
  @Test(dataProvider = "choices")
  public void aResumedRunHasTheSameBits(ScalarType dtype, String flags) throws IOException {
    List<Map<String, float[]>> all = new ArrayList<>();
    with(
        dtype,
        flags,
        (optimizer, parameters) -> {
          step(optimizer, parameters, 0, 0, 1);
          step(optimizer, parameters, 1, 0, 1);
          save(optimizer, parameters);
          all.add(state(optimizer, parameters));
          step(optimizer, parameters, 2, 0, 1);
          all.add(state(optimizer, parameters));
        });
    with(
        dtype,
        flags,
        (optimizer, parameters) -> {
          load(optimizer, parameters);
          assertSameState(state(optimizer, parameters), all.get(0));
          step(optimizer, parameters, 2, 0, 1);
          assertSameState(state(optimizer, parameters), all.get(1));
        });
  }

  /** From fp32 to the nearest that is kept, and from there back without a change. */
  @Test
  public void anyChoiceLoadsAnothersCheckpoint() throws IOException {
    Map<String, float[]> exact = new LinkedHashMap<>();
    Map<String, float[]> coded = new LinkedHashMap<>();
    with(
        ScalarType.BFloat16,
        "",
        (optimizer, parameters) -> {
          step(optimizer, parameters, 0, 0, 1);
          step(optimizer, parameters, 1, 0, 1);
          exact.putAll(state(optimizer, parameters));
          save(optimizer, parameters);
        });
    with(
        ScalarType.BFloat16,
        FP8 + SPLIT,
        (optimizer, parameters) -> {
          load(optimizer, parameters);
          coded.putAll(state(optimizer, parameters));
          save(optimizer, parameters);
        });
    with(
        ScalarType.BFloat16,
        "",
        (optimizer, parameters) -> {
          load(optimizer, parameters);
          Map<String, float[]> back = state(optimizer, parameters);
          for (OptimizerState s : optimizer.states()) {
            for (OptimizerState.Kind kind : OptimizerState.Kind.values()) {
              String name = kind + s.parameter().name();
              assertEquals(back.get(name), coded.get(name), name);
              float[] values = exact.get(name);
              boolean wide = s.parameter().name().matches("(wide|odd).weight");
              if (kind == OptimizerState.Kind.MASTER || !wide) {
                assertEquals(coded.get(name), values, name);
              } else {
                assertEquals(coded.get(name), nearest(values, kind), name);
                assertNotEquals(coded.get(name), values, name);
              }
            }
          }
        });
  }

  /** What bf16 parameters lack of their masters is not lost where a run goes on in fp32. */
  @Test
  public void parametersInFp32AreTheMastersOfABf16Run() throws IOException {
    for (String flags : List.of("", SPLIT)) {
      Map<String, float[]> saved = new LinkedHashMap<>();
      with(
          ScalarType.BFloat16,
          flags,
          (optimizer, parameters) -> {
            step(optimizer, parameters, 0, 0, 1);
            step(optimizer, parameters, 1, 0, 1);
            saved.putAll(state(optimizer, parameters));
            save(optimizer, parameters);
          });
      with(
          ScalarType.Float,
          "",
          (optimizer, parameters) -> {
            load(optimizer, parameters);
            for (Parameter p : parameters.all()) {
              float[] master = saved.get("MASTER" + p.name());
              assertNotEquals(saved.get(p.name()), master, p.name());
              assertEquals(Tensors.floats(p.tensor()), master, p.name());
            }
          });
    }
  }

  private static float[] nearest(float[] values, OptimizerState.Kind kind) {
    float[][] result = new float[1][];
    Scopes.run(
        () -> {
          Tensor t = Tensors.of(values, values.length);
          boolean square = kind == OptimizerState.Kind.EXP_AVG_SQ;
          try (Moment moment = new Moment(MomentType.FP8, square, t)) {
            moment.write(t);
            result[0] = Tensors.floats(moment.read());
          }
        });
    return result[0];
  }

  /** Masters in two pieces are those in one, as long as the gradients are. */
  @Test
  public void masterStorageChangesNoMaster() throws IOException {
    List<Map<String, float[]>> all = new ArrayList<>();
    for (String flags : List.of("", SPLIT)) {
      with(
          ScalarType.BFloat16,
          flags,
          (optimizer, parameters) -> {
            for (int step = 0; step < 5; step++) {
              step(optimizer, parameters, step, 0, 1);
            }
            all.add(state(optimizer, parameters));
          });
    }
    all.get(0).keySet().removeIf(name -> !name.startsWith("MASTER"));
    all.get(1).keySet().removeIf(name -> !name.startsWith("MASTER"));
    assertSameState(all.get(1), all.get(0));
  }

  @DataProvider
  public Object[][] kept() {
    String rest = "fp32 masters as 16 bits beside their bf16 parameters, ";
    String whole = "fp32 masters beside bf16 parameters, ";
    // 15,969 elements in matrices of 4,096 and more, 136 in others.
    return new Object[][] {
      {ScalarType.Float, "", "first moments in fp32, second in fp32", 16_105 * 8},
      {ScalarType.BFloat16, "", whole + "first moments in fp32, second in fp32", 16_105 * 12},
      {ScalarType.BFloat16, BF16 + SPLIT, rest + "first moments in bf16, second in bf16", 97_174},
      {ScalarType.BFloat16, FP8 + SPLIT, rest + "first moments in fp8, second in fp8", 65_735},
    };
  }

  /** The log says how the state is kept and what it takes. */
  @Test(dataProvider = "kept")
  public void saysWhatItKeeps(ScalarType dtype, String flags, String words, int bytes)
      throws IOException {
    with(
        dtype,
        flags,
        (optimizer, parameters) -> {
          double kept = optimizer.states().stream().mapToDouble(OptimizerState::bytes).sum();
          assertEquals(kept, bytes, 1);
          assertEquals(
              optimizer.describe(),
              words + String.format(Locale.ROOT, ": %.2f MiB on this rank", bytes / 0x1p20));
        });
  }

  /** A first moment of 8 bits is divided by the root of one that does not know its blocks. */
  @Test
  public void warnsOfFirstMomentsAloneInEightBits() {
    for (String flags : List.of("", BF16, FP8, AWARE + " --exp-avg-sq-dtype fp8")) {
      assertEquals(warnings(flags), List.of(), flags);
    }
    assertTrue(warnings(BF16 + " --exp-avg-dtype fp8").get(0).contains("--exp-avg-sq-dtype bf16:"));
    assertEquals(warnings(AWARE + " --exp-avg-dtype fp8").size(), 1);
  }

  private static List<String> warnings(String flags) {
    String line = "--lr 0.01 " + flags;
    return Flags.parse(OptimizerConfig.class, Refusals.words(line.strip())).warnings();
  }

  /** Copies stay copies, and parts are what the whole would be: the draws and the blocks agree. */
  @Test(dataProvider = "choices")
  public void dataParallelRanksHaveTheBitsOfOne(ScalarType dtype, String flags) throws IOException {
    Map<String, float[]> one = new LinkedHashMap<>();
    with(
        dtype,
        flags,
        (optimizer, parameters) -> {
          for (int step = 0; step < 3; step++) {
            step(optimizer, parameters, step, 0, 1, 2, 3);
          }
          for (Parameter p : parameters.all()) {
            one.put(p.name(), Tensors.floats(p.tensor()));
          }
        });
    for (String way : List.of("", "--use-distributed-optimizer")) {
      ParallelConfig parallel = Flags.parse(ParallelConfig.class, Refusals.words(way));
      Map<Integer, Map<String, float[]>> found = new ConcurrentHashMap<>();
      ThreadRanks.run(
          new Layout(2, 1, 1, 1),
          false,
          groups -> {
            try (ParameterSet parameters = parameters(groups, dtype);
                AdamW optimizer = optimizer(parameters, flags, parallel)) {
              int rank = groups.world().rank();
              for (int step = 0; step < 3; step++) {
                step(optimizer, parameters, step, rank, 2 + rank);
              }
              Map<String, float[]> all = new LinkedHashMap<>();
              for (Parameter p : parameters.all()) {
                all.put(p.name(), Tensors.floats(p.tensor()));
              }
              found.put(rank, all);
            }
          });
      assertSameState(found.get(0), one);
      assertSameState(found.get(1), one);
    }
  }

  @Test
  public void gradientsAreSummedInTheirType() throws IOException {
    for (String type : List.of("fp32", "bf16")) {
      with(
          ScalarType.BFloat16,
          AWARE + "--main-grads-dtype " + type,
          (optimizer, parameters) -> {
            for (int source = 0; source < 2; source++) {
              Tensor weight = parameters.all().get(0).tensor();
              Tensor part = gradient(parameters.all().get(0), 0, source);
              Scopes.run(() -> weight.mul(part).sum().backward());
              optimizer.accumulate();
            }
            Tensor sum = optimizer.gradients().get(0);
            assertSame(
                Tensors.dtype(sum), type.equals("bf16") ? ScalarType.BFloat16 : ScalarType.Float);
            Tensor expected =
                gradient(parameters.all().get(0), 0, 0)
                    .add(gradient(parameters.all().get(0), 0, 1));
            assertEquals(Tensors.floats(sum), Tensors.floats(expected));
            optimizer.forgetGradients();
          });
    }
  }

  @Test
  public void aRefusalLeavesNothingBehind() {
    try (ParameterSet parameters = parameters(Groups.single(), ScalarType.Float)) {
      long before = Scopes.livePointers();
      for (int i = 0; i < 3; i++) {
        expectThrows(
            IllegalArgumentException.class,
            () -> optimizer(parameters, SPLIT, ParallelConfig.single()));
      }
      assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
    }
  }

  @Test
  public void whatCannotBeIsRefused() {
    var refusal =
        expectThrows(
            IllegalArgumentException.class,
            () -> with(ScalarType.Float, AWARE + "--main-grads-dtype bf16", (optimizer, p) -> {}));
    assertTrue(refusal.getMessage().contains("give --bf16 too"), refusal.getMessage());
    refusal =
        expectThrows(
            IllegalArgumentException.class,
            () ->
                Flags.parse(
                    OptimizerConfig.class, Refusals.words("--lr 0.01 --exp-avg-dtype bf16")));
    assertTrue(
        refusal.getMessage().contains("--use-precision-aware-optimizer"), refusal.getMessage());
  }
}
