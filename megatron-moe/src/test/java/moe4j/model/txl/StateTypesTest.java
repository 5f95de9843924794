package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.lang.reflect.RecordComponent;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.optimizer.OptimizerConfig;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The types of the optimizer's state are asked for as in a GPT's run, and resumed bit for bit. */
public class StateTypesTest {
  private static final String AWARE = " --use-precision-aware-optimizer";
  private static final String BF16 = AWARE + " --exp-avg-dtype bf16 --exp-avg-sq-dtype bf16";
  private static final String FP8 = AWARE + " --exp-avg-dtype fp8 --exp-avg-sq-dtype fp8";
  private static final String REST = " --master-storage remainder";

  /** Experts of more than 4,096 elements each: smaller tensors keep fp32 moments in any case. */
  private static final String RUN =
      SmallRun.SHAPE
          + SmallRun.EXPERTS
          + " --n-layer 1 --d-model 64 --moe-ffn-hidden-size 80 --dropout 0.1"
          + " --vocabulary bytes --max-step 3 --bf16";

  private TempDir folder;
  private Path text;

  @BeforeClass
  public void makeText() throws IOException {
    folder = new TempDir();
    text = folder.text("text", Seeds.random(StateTypesTest.class), 900);
  }

  @AfterClass
  public void delete() throws IOException {
    folder.close();
  }

  private TransformerXlRun run(String flags, Object... more) {
    List<Object> all =
        new ArrayList<>(List.of("--data-file", text, "--split-bytes", "260,160,160"));
    all.addAll(Arrays.asList(more));
    return SmallRun.parse(flags, all.toArray());
  }

  @DataProvider
  public Object[][] types() {
    return new Object[][] {
      {""},
      {REST},
      {" --master-storage whole" + AWARE},
      {BF16 + REST},
      {FP8 + REST},
      {AWARE + " --exp-avg-dtype bf16 --exp-avg-sq-dtype fp8"},
      {AWARE + " --main-grads-dtype bf16 --main-params-dtype fp32"},
    };
  }

  /** What an optimizer is told of types is what a GPT's is told. */
  @Test(dataProvider = "types")
  public void areThoseOfGpt(String flags) {
    OptimizerConfig gpt =
        Flags.parse(OptimizerConfig.class, Refusals.words(("--lr 0.02" + flags).strip()));
    OptimizerConfig ours = run(RUN + flags).config().optimizer();
    assertEquals(
        ours.toBuilder()
            .minLr(gpt.minLr())
            .lrDecayStyle(gpt.lrDecayStyle())
            .weightDecay(gpt.weightDecay())
            .clipGrad(gpt.clipGrad())
            .build(),
        gpt);
  }

  /** Each flag has the type, the choices and the default that it has in a GPT's run. */
  @Test
  public void haveGptsNamesAndValues() {
    Map<String, String> gpt = flags(OptimizerConfig.class);
    Map<String, String> ours = flags(DeviceFlags.class);
    ours.keySet().retainAll(gpt.keySet());
    gpt.keySet().removeIf(name -> !name.matches("(main|exp|master|usePrecision).*"));
    assertEquals(gpt.size(), 6);
    assertEquals(ours, gpt);
  }

  private static Map<String, String> flags(Class<? extends Record> type) {
    Map<String, String> flags = new TreeMap<>();
    for (RecordComponent component : type.getRecordComponents()) {
      Flag flag = component.getAnnotation(Flag.class);
      String choices = String.join(" ", flag.choices());
      flags.put(
          component.getName(),
          String.join(
              ", ",
              component.getType().getSimpleName(),
              flag.value(),
              choices,
              flag.needs(),
              flag.otherwise()));
    }
    return flags;
  }

  @DataProvider
  public Object[][] kept() {
    return new Object[][] {
      {"bf16", BF16}, {"fp8", FP8 + REST}, {"mixed", BF16 + " --exp-avg-sq-dtype fp8" + REST}
    };
  }

  @Test(dataProvider = "kept")
  public void areResumed(String name, String types) throws IOException {
    SmallRun whole = SmallRun.of(run(RUN + types));
    SmallRun exact = SmallRun.of(run(RUN));
    assertFalse(same(whole, exact), "the types change nothing");
    Path work = folder.path(name);
    SmallRun.of(run(RUN + types + " --exit-interval 2", "--work-dir", work));
    SmallRun second = SmallRun.of(run(RUN + types + " --restart", "--work-dir", work));
    assertEquals(second.losses, new TreeMap<>(whole.losses).tailMap(2, false));
    assertTrue(same(second, whole), "resumed, other weights come out");
  }

  private static boolean same(SmallRun a, SmallRun b) {
    assertEquals(a.weights.keySet(), b.weights.keySet());
    return a.weights.entrySet().stream()
        .allMatch(each -> Arrays.equals(each.getValue(), b.weights.get(each.getKey())));
  }

  /** When a shared expert is computed is no part of what it is. */
  @Test
  public void aSharedExpertMayOverlapWhenResumed() throws IOException {
    Path work = folder.path("overlap");
    String shared = RUN + " --moe-shared-expert-intermediate-size 32";
    SmallRun.of(run(shared + " --exit-interval 1", "--work-dir", work));
    Object[] corpus = {"--data-file", text, "--split-bytes", "260,160,160", "--work-dir", work};
    String line = "pretrain-txl " + shared + " --restart";
    for (String flags : List.of(" --moe-shared-expert-overlap --exit-interval 2", "")) {
      Console console = Console.command(line + flags, corpus).ok();
      String said = console.out() + console.err();
      assertTrue(said.contains("moe-shared-expert-overlap"), said);
    }
  }

  /** Other types on resumption are told, as in a GPT's run, and are no hindrance. */
  @Test
  public void mayDifferWhenResumed() throws IOException {
    Path work = folder.path("other");
    SmallRun.of(run(RUN + BF16 + " --exit-interval 2", "--work-dir", work));
    String line = "pretrain-txl " + RUN + FP8 + REST + " --moe-grouped-products libtorch --restart";
    Object[] corpus = {"--data-file", text, "--split-bytes", "260,160,160", "--work-dir", work};
    Console console = Console.command(line, corpus).ok();
    String said = console.out() + console.err();
    assertTrue(said.contains(" step        3 |"), said);
    for (String flag : List.of("exp-avg-dtype", "exp-avg-sq-dtype")) {
      String told = "--%s was bf16 in the checkpoint's run, and is fp8 now".formatted(flag);
      assertTrue(said.contains(told), said);
    }
  }
}
