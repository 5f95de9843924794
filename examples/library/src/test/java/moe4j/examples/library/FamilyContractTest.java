package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.cli.Main;
import moe4j.config.ConfigYaml;
import moe4j.config.Flags;
import moe4j.model.ModelFamilies;
import moe4j.model.ModelFamily;
import moe4j.model.ModelSpec;
import moe4j.model.RunConfig;
import moe4j.model.RunJson;
import moe4j.model.RunWords;
import moe4j.model.Task;
import moe4j.parallel.WorldEnvironment;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What every family of models keeps to, moe4j's own and the example's. */
public class FamilyContractTest {
  private static final String MEGATRONS = " --micro-batch-size 2 --train-iters 3 --lr 0.01";

  /** A small run of each, in which flags differ from their defaults; TEXT is a file. */
  private static final Map<String, String> RUNS =
      Map.of(
          "gpt",
          "--num-layers 2 --hidden-size 8 --num-attention-heads 2 --seq-length 6 --swiglu"
              + " --position-embedding-type rope --mock-data --vocab-size 20"
              + MEGATRONS,
          "rnn",
          "--num-layers 2 --hidden-size 8 --seq-length 6 --text-file TEXT" + MEGATRONS,
          "txl",
          "--n-layer 2 --d-model 8 --n-head 2 --d-head 4 --d-inner 12 --tgt-len 4 --mem-len 6"
              + " --eval-tgt-len 3 --batch-size 2 --max-step 3 --pre-lnorm --eval-batch-size 2"
              + " --data-file TEXT --split-bytes 200,50,50");

  private static final String EXPERTS =
      " --num-experts 4 --moe-router-topk 2 --moe-ffn-hidden-size 12 --add-expert-bias";

  private TempDir folder;
  private Path text;

  @BeforeClass
  public void writeText() throws IOException {
    folder = new TempDir();
    text = folder.text("text", Seeds.random(FamilyContractTest.class), 300);
  }

  @AfterClass
  public void deleteText() throws IOException {
    folder.close();
  }

  @DataProvider
  public Object[][] families() {
    return ModelFamilies.all().stream().map(f -> new Object[] {f.name()}).toArray(Object[][]::new);
  }

  @DataProvider
  public Object[][] models() {
    List<Object[]> models = new ArrayList<>();
    for (ModelFamily family : ModelFamilies.all()) {
      models.add(new Object[] {family.name(), ""});
      models.add(new Object[] {family.name(), EXPERTS});
    }
    return models.toArray(Object[][]::new);
  }

  private RunConfig run(String name, String more) {
    List<String> line = new ArrayList<>(Arrays.asList((RUNS.get(name) + more).split(" ")));
    line.replaceAll(word -> word.equals("TEXT") ? text.toString() : word);
    return run(ModelFamilies.named(name), line);
  }

  private static RunConfig run(ModelFamily family, List<String> line) {
    return family.run(family.flags().parse(line.toArray(String[]::new)).withoutPositional(), 1);
  }

  @Test
  public void everyFamilyIsHere() {
    List<String> names = ModelFamilies.all().stream().map(ModelFamily::name).toList();
    assertEquals(names, List.copyOf(new TreeSet<>(RUNS.keySet())));
  }

  @Test(dataProvider = "families")
  public void itHasANameAndWords(String name) {
    ModelFamily family = ModelFamilies.named(name);
    assertTrue(name.matches("[a-z][a-z0-9-]*"), name);
    assertFalse(family.title().isBlank());
    Flags flags = family.flags();
    RunWords words = family.words();
    List<String> said =
        new ArrayList<>(
            List.of(
                words.steps(),
                words.batch(),
                words.directory().save(),
                words.directory().record(),
                words.directory().goOn()));
    if (words.directory().weights() != null) {
      said.add(words.directory().weights());
    }
    Matcher flag = Pattern.compile("--([a-z-]+)").matcher(String.join(" ", said));
    while (flag.find()) {
      assertTrue(flags.names().contains(flag.group(1)), flag.group());
    }
  }

  /** Every command that takes the family's flags says what each of them means. */
  @Test(dataProvider = "families")
  public void itsFlagsAreExplained(String name) {
    ModelFamily family = ModelFamilies.named(name);
    assertHelp(family.flags(), "pretrain-" + name);
    assertHelp(family.flags(), "pretrain --model " + name);
    assertHelp(family.flags(), "bench " + name);
    assertHelp(Flags.of(family.evaluationFlags()), "evaluate-" + name);
    assertHelp(Flags.of(family.modelFlags()), "plan --model " + name);
    assertHelp(Flags.of(family.presetFlags()), "plan --model " + name);
    // A command of its own has these beside the family's, and no name may stand in two.
    Flags.of(family.textFlags());
  }

  private static void assertHelp(Flags flags, String command) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    PrintStream to = new PrintStream(out, true, StandardCharsets.UTF_8);
    assertEquals(Main.run((command + " --help").split(" "), to, to), 0, command);
    String help = out.toString(StandardCharsets.UTF_8);
    for (String flag : flags.names()) {
      Pattern line = Pattern.compile("^  --" + flag + "( .*)?\\s+\\S", Pattern.MULTILINE);
      assertTrue(line.matcher(help).find(), command + " --help lacks --" + flag);
    }
  }

  /** What it costs is counted without the model, and has to be the model's. */
  @Test(dataProvider = "models")
  public void itsCostsAreItsParameters(String name, String experts) throws IOException {
    RunConfig run = run(name, experts);
    ModelSpec model = run.model();
    int padded = model.paddedVocabulary(task(run).vocabulary());
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = new ParameterSet(1, ScalarType.Float, new Device("meta"))) {
      int rows = run.training().microBatchSize();
      assertSame(
          model.family().model(model, padded, rows, parameters).parameters(), parameters, name);
      assertEquals(model.costs(padded).parameters().total(), parameters.elements());
    }
    assertTrue(model.costs(padded).flops(rowsOf(run), rowsOf(run)) > 0);
    assertEquals(model.moeLayers(), experts.isEmpty() ? 0 : model.layers());
  }

  private static int rowsOf(RunConfig run) {
    return run.training().globalBatchSize();
  }

  private static Task task(RunConfig run) throws IOException {
    return run.family().task(run, WorldEnvironment.of(Map.of()));
  }

  /** A checkpoint may differ from the run that loads it in flags that there are. */
  @Test(dataProvider = "families")
  public void whatMayDifferIsAFlag(String name) {
    RunConfig run = run(name, "");
    Record flags = run.model().flags();
    assertTrue(
        Flags.arguments(flags).keySet().containsAll(run.family().mayDiffer(flags)),
        run.family().mayDiffer(flags).toString());
  }

  /** The arguments that a run logs, and keeps as config.yaml, are flags that give it again. */
  @Test(dataProvider = "models")
  public void itsArgumentsGiveItAgain(String name, String experts) throws IOException {
    RunConfig run = run(name, experts);
    String file = ConfigYaml.text(List.of(), task(run).arguments(run));
    assertEquals(run(run.family(), ConfigYaml.words("config.yaml", file)), run, file);
  }

  /** A checkpoint's configuration gives the model and the data again, and knows the family. */
  @Test(dataProvider = "models")
  public void itsConfigurationIsReadAgain(String name, String experts) {
    RunConfig run = run(name, experts);
    ObjectNode saved = run.toJson();
    assertEquals(RunJson.familyOf(saved).name(), name);
    assertEquals(RunJson.modelOf(saved), run.model().flags());
    assertEquals(RunJson.moeOf(saved), run.moe());
    assertEquals(RunJson.dataOf(saved), run.data());
  }
}
