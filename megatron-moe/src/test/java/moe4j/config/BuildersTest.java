package moe4j.config;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.RecordComponent;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.function.Supplier;
import moe4j.model.gpt.GptConfig;
import moe4j.model.txl.CorpusFlags;
import moe4j.model.txl.DeviceFlags;
import moe4j.model.txl.SmallRun;
import moe4j.model.txl.TrainingFlags;
import moe4j.model.txl.TransformerXlConfig;
import moe4j.model.txl.TransformerXlRun;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.ParallelConfig;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Builders of all records of flags that Java callers make: they are the flags once more. */
public class BuildersTest {

  /** A record, a builder of it and the words without which there is no such record. */
  record Case(Class<? extends Record> type, FlagsBuilder<?> builder, String needed) {
    @Override
    public String toString() {
      return type.getSimpleName();
    }
  }

  @DataProvider
  public Object[] records() {
    return new Object[] {
      new Case(
          GptConfig.class,
          GptConfig.builder(),
          "--num-layers 2 --hidden-size 8 --num-attention-heads 2 --seq-length 16"),
      new Case(MoeConfig.class, MoeConfig.builder(), ""),
      new Case(OptimizerConfig.class, OptimizerConfig.builder(), "--lr 0.5"),
      new Case(
          TrainingConfig.class, TrainingConfig.builder(), "--micro-batch-size 2 --train-iters 10"),
      new Case(DataFlags.class, DataFlags.builder(), "--mock-data"),
      new Case(CheckpointConfig.class, CheckpointConfig.builder(), ""),
      new Case(LoggingConfig.class, LoggingConfig.builder(), ""),
      new Case(ParallelConfig.class, ParallelConfig.builder(), ""),
      new Case(TransformerXlConfig.class, TransformerXlConfig.builder(), ""),
      new Case(TrainingFlags.class, TrainingFlags.builder(), ""),
      new Case(CorpusFlags.class, CorpusFlags.builder(), "--data corpus"),
      new Case(DeviceFlags.class, DeviceFlags.builder(), ""),
    };
  }

  /** A Transformer-XL's run from Java is the one that its flags give. */
  @Test
  public void aTransformerXlsRun() {
    TransformerXlRun run =
        TransformerXlRun.of(
            TransformerXlConfig.builder().nLayer(2).dModel(16).nHead(2).dHead(8).dInner(24).build(),
            MoeConfig.builder().numExperts(4).moeFfnHiddenSize(12).build(),
            TrainingFlags.builder().batchSize(8).maxStep(5).workDir("there").build(),
            CorpusFlags.builder().data("corpus").vocabulary("bytes").build(),
            DeviceFlags.builder().numThreads(1).runName("small").build(),
            ParallelConfig.single(),
            1);
    assertEquals(
        run,
        SmallRun.parse(
            "--n-layer 2 --d-model 16 --n-head 2 --d-head 8 --d-inner 24 --num-experts 4"
                + " --moe-ffn-hidden-size 12 --batch-size 8 --max-step 5 --work-dir there"
                + " --data corpus --vocabulary bytes --num-threads 1 --run-name small"));
  }

  @Test(dataProvider = "records")
  public void hasAMethodForEachComponent(Case each) {
    Class<?> builder = each.builder().getClass().getInterfaces()[0];
    List<String> wanted = new ArrayList<>(List.of("build()"));
    for (RecordComponent component : each.type().getRecordComponents()) {
      wanted.add("%s(%s)".formatted(component.getName(), component.getType().getSimpleName()));
      if (component.getGenericType() instanceof ParameterizedType list) {
        Class<?> element = (Class<?>) list.getActualTypeArguments()[0];
        wanted.add("%s(%s[])".formatted(component.getName(), element.getSimpleName()));
      }
    }
    List<String> there = new ArrayList<>();
    for (Method method : builder.getMethods()) {
      List<String> types =
          Arrays.stream(method.getParameterTypes()).map(Class::getSimpleName).toList();
      there.add("%s(%s)".formatted(method.getName(), String.join(", ", types)));
    }
    assertEquals(new TreeSet<>(there), new TreeSet<>(wanted));
    assertEquals(there.size(), wanted.size());
  }

  @Test(dataProvider = "records")
  public void defaultsAreTheFlags(Case each) throws Exception {
    Record parsed = parse(each.type(), each.needed());
    type(each, each.needed());
    assertEquals(each.builder().build(), parsed);
    FlagsBuilder<?> again = (FlagsBuilder<?>) each.type().getMethod("toBuilder").invoke(parsed);
    assertEquals(again.build(), parsed);
  }

  @Test(dataProvider = "records")
  public void whatIsRequiredIsAskedForInTheFlagsWords(Case each) {
    if (each.needed().isEmpty()) {
      assertEquals(each.builder().build(), parse(each.type(), ""));
      return;
    }
    assertEquals(
        expectThrows(IllegalArgumentException.class, each.builder()::build).getMessage(),
        expectThrows(IllegalArgumentException.class, () -> parse(each.type(), "")).getMessage());
  }

  @Test(dataProvider = "records")
  public void refusesAlikeEachFlagByItself(Case each) throws Exception {
    int refused = 0;
    for (FlagSpec spec : FlagSpec.of(each.type())) {
      if (needsAnother(each.type(), spec)) {
        continue;
      }
      for (String value : values(spec)) {
        String line = each.needed() + " --" + spec.name() + (spec.isSwitch() ? "" : "=" + value);
        String wanted = outcome(() -> parse(each.type(), line));
        Case fresh = fresh(each.type());
        type(fresh, line);
        assertEquals(outcome(fresh.builder()::build), wanted, line);
        refused += wanted.startsWith("refused") ? 1 : 0;
      }
    }
    assertTrue(refused > 0, "nothing of it was refused");
  }

  @Test
  public void refusesAlikeWhatIsWrongTogether() throws Exception {
    for (String[] line :
        new String[][] {
          {"OptimizerConfig", "--lr 1 --lr-warmup-fraction 0.1 --lr-warmup-iters 5"},
          {"OptimizerConfig", "--lr 1 --lr-decay-style WSD"},
          {"TrainingConfig", "--micro-batch-size 4 --global-batch-size 6 --train-iters 1"},
          {"MoeConfig", "--top-k 4"},
          {"MoeConfig", "--num-experts 4 --top-k 3 --moe-router-topk 1"},
          {"MoeConfig", "--num-experts 2 --moe-router-topk 3"},
          {"MoeConfig", "--num-experts 4 --moe-aux-loss-coeff 0.1 0.2"},
          {"CheckpointConfig", "--auto-resume --overwrite"},
          {"DataFlags", "--mock-data --data-path a b"},
        }) {
      Case each =
          Arrays.stream(records())
              .map(Case.class::cast)
              .filter(c -> c.toString().equals(line[0]))
              .findAny()
              .orElseThrow();
      type(each, line[1]);
      String wanted = outcome(() -> parse(each.type(), line[1]));
      assertTrue(wanted.startsWith("refused"), line[1]);
      assertEquals(outcome(each.builder()::build), wanted, line[1]);
    }
  }

  @Test
  public void nothingIsNoValueOfAFlagThatHasOne() {
    IllegalArgumentException refused =
        expectThrows(IllegalArgumentException.class, MoeConfig.builder().moeLayerFreq(null)::build);
    assertEquals(refused.getMessage(), "--moe-layer-freq: null is no value of it");
    assertThrows(IllegalArgumentException.class, OptimizerConfig.builder().lr(Double.NaN)::build);
  }

  @Test
  public void aListIsItsCallersNoMore() {
    List<String> paths = new ArrayList<>(List.of("a"));
    DataFlagsBuilder builder = DataFlags.builder().dataPath(paths);
    paths.add("b");
    assertEquals(builder.build().dataPath(), List.of("a"));
    assertEquals(builder.dataPath("b", "c").build().dataPath(), List.of("b", "c"));
  }

  @Test
  public void aBuilderGoesOnAfterItHasBuilt() {
    LoggingConfigBuilder builder = LoggingConfig.builder().logInterval(3);
    LoggingConfig first = builder.build();
    LoggingConfig second = builder.logThroughput(true).build();
    assertFalse(first.logThroughput());
    assertNotEquals(first, second);
    assertEquals(first.toBuilder().logThroughput(true).build(), second);
  }

  /** A record of a line; where one of its flags depends on another record's, beside that one. */
  private static Record parse(Class<? extends Record> type, String line) {
    return type == LoggingConfig.class
        ? Flags.of(type, TrainingConfig.class)
            .parse(Refusals.words(line + " --micro-batch-size 1 --train-iters 1"))
            .get(type)
        : Flags.parse(type, Refusals.words(line));
  }

  /** Calls a builder's methods with what a line says. */
  private static void type(Case each, String line) throws ReflectiveOperationException {
    for (String flag : line.trim().split(" ?--(?=[a-z])")) {
      List<String> words = List.of(flag.split("[= ]"));
      if (!flag.isEmpty()) {
        set(each, spec(each.type(), words.get(0)), words.subList(1, words.size()));
      }
    }
  }

  private static void set(Case each, FlagSpec spec, List<String> words)
      throws ReflectiveOperationException {
    Class<?> type = spec.component().getType();
    Object value =
        spec.isSwitch()
            ? (Object) true
            : spec.isList()
                ? words.stream().map(word -> value(elements(spec), word)).toList()
                : value(type, words.get(0));
    each.builder()
        .getClass()
        .getInterfaces()[0]
        .getMethod(spec.component().getName(), type)
        .invoke(each.builder(), value);
  }

  private static Class<?> elements(FlagSpec spec) {
    return (Class<?>)
        ((ParameterizedType) spec.component().getGenericType()).getActualTypeArguments()[0];
  }

  private static Object value(Class<?> type, String word) {
    if (type == String.class) {
      return word;
    }
    return type == double.class || type == Double.class
        ? (Object) Double.valueOf(word)
        : type == long.class || type == Long.class
            ? (Object) Long.valueOf(word)
            : (Object) Integer.valueOf(word);
  }

  private static FlagSpec spec(Class<? extends Record> type, String name) {
    return FlagSpec.of(type).stream().filter(s -> s.name().equals(name)).findAny().orElseThrow();
  }

  private Case fresh(Class<? extends Record> type) {
    return Arrays.stream(records())
        .map(Case.class::cast)
        .filter(each -> each.type() == type)
        .findAny()
        .orElseThrow();
  }

  /** Whether a flag depends on one of another record, which its own cannot be parsed without. */
  private static boolean needsAnother(Class<? extends Record> type, FlagSpec spec) {
    return !spec.needed().isEmpty()
        && FlagSpec.of(type).stream().noneMatch(other -> other.name().equals(spec.needed()));
  }

  /** A module of a user's may keep its records to itself, as Java's own modules do. */
  @Test
  public void aRecordThatCannotBeReachedIsRefusedInASentence() throws ReflectiveOperationException {
    Method kept = String.class.getDeclaredMethod("coder");
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> FlagSpec.reach(kept)).getMessage(),
        "java.lang.String is a record of flags: its module java.base has to open the package java.lang");
  }

  /** Values that a flag may refuse, and one that it takes. */
  private static List<String> values(FlagSpec spec) {
    Class<?> type = spec.isList() ? elements(spec) : spec.component().getType();
    if (type == double.class || type == Double.class) {
      return List.of("-3", "0", "0.25", "7");
    }
    return type == String.class ? List.of("nonsense") : List.of("-3", "0", "3", "1000");
  }

  private static String outcome(Supplier<? extends Record> made) {
    try {
      return made.get().toString();
    } catch (IllegalArgumentException e) {
      return "refused: " + e.getMessage();
    }
  }
}
