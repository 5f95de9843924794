package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Section;
import moe4j.cli.Main;
import moe4j.cost.Costs;
import moe4j.model.ModelFamilies;
import moe4j.model.ModelFamily;
import moe4j.model.ModelSpec;
import moe4j.model.RunConfig;
import moe4j.model.SavedConfig;
import moe4j.model.TrainState;
import moe4j.parallel.WorldEnvironment;
import moe4j.record.IterationRecord;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import moe4j.training.step.TrainingListener;
import moe4j.transformer.ParameterSet;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A family of one's own: found by its name, trained, saved, taken up again, and costed. */
public class RnnFamilyTest {
  private static final String EXPERTS = " --num-experts 4 --moe-aux-loss-coeff 0.01";

  private final ModelFamily family = ModelFamilies.named("rnn");
  private Path directory;

  @BeforeMethod
  public void open() throws IOException {
    directory = Files.createTempDirectory("rnn");
    Files.writeString(
        directory.resolve("text"), "the cat sat on the mat and ate the rat. ".repeat(50));
  }

  @AfterMethod
  public void close() throws IOException {
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  private RunConfig run(String more) {
    return run(more, 1);
  }

  private RunConfig run(String more, int processes) {
    String line =
        "--hidden-size 16 --seq-length 12 --micro-batch-size 4 --global-batch-size 8 --lr 0.02"
            + " --train-iters 30 --eval-iters 2 --log-interval 1 --num-threads 1 --text-file "
            + directory.resolve("text")
            + more;
    return family.run(family.flags().parse(line.split(" ")).withoutPositional(), processes);
  }

  /** The losses of a run's steps. */
  private static List<Double> train(RunConfig run) throws IOException {
    List<Double> losses = new ArrayList<>();
    TrainingListener watcher =
        new TrainingListener() {
          @Override
          public void interval(Interval interval) {
            losses.add(interval.reading().losses().get(IterationRecord.LM_LOSS));
          }

          @Override
          public void validation(Validation validation) {}

          @Override
          public void saved(TrainState state, String where) {}

          @Override
          public void say(String sentence) {}
        };
    Pretraining.run(
        run,
        run.family().task(run, WorldEnvironment.of(Map.of())),
        ShutdownSignal.install(),
        watcher);
    return losses;
  }

  @DataProvider
  public Object[][] kinds() {
    return new Object[][] {{""}, {EXPERTS}};
  }

  /** It starts at a guess among 256 bytes, and soon knows which letters there are. */
  @Test(dataProvider = "kinds")
  public void itLearns(String experts) throws IOException {
    List<Double> losses = train(run(experts));
    assertEquals(losses.size(), 30);
    assertTrue(losses.get(0) > 5, losses.toString());
    assertTrue(losses.get(29) < 2.5, losses.toString());
  }

  /** Stopped and taken up again it has, bit for bit, what it would have had. */
  @Test
  public void itGoesOnWhereItStood() throws IOException {
    String kept = EXPERTS + " --save-interval 5 --save " + directory.resolve("whole");
    List<Double> whole = train(run(kept));
    Path twice = directory.resolve("twice");
    List<Double> parts = train(run(EXPERTS + " --exit-interval 11 --save " + twice));
    parts.addAll(train(run(EXPERTS + " --save " + twice + " --load " + twice)));
    assertEquals(parts, whole);
    String file = "iter_0000030/model_00000-of-00001.safetensors";
    assertEquals(
        Files.readAllBytes(twice.resolve(file)),
        Files.readAllBytes(directory.resolve("whole").resolve(file)));
    try (Checkpoint checkpoint =
        new CheckpointStore(twice, -1)
            .loadLatest(EnumSet.of(Section.MODEL), s -> {})
            .orElseThrow()) {
      SavedConfig saved = SavedConfig.of(checkpoint, null);
      assertEquals(saved.model(), run(EXPERTS).model());
      assertEquals(saved.data(RnnText.class), run("").data());
      assertTrue(
          expectThrows(IllegalArgumentException.class, () -> saved.model("gpt"))
              .getMessage()
              .contains("is a character RNN's, and no GPT's"));
    }
  }

  /** The command evaluates it as the run did at its end: it knows the family by its name. */
  @Test
  public void itIsEvaluatedByTheCommand() throws IOException {
    Path save = directory.resolve("saved");
    RunConfig run = run(EXPERTS + " --save " + save);
    Pretraining.Outcome outcome =
        Pretraining.run(
            run, family.task(run, WorldEnvironment.of(Map.of())), ShutdownSignal.install(), null);
    double loss = outcome.validation().losses().get(IterationRecord.LM_LOSS);
    PrintStream console = System.out;
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
    try {
      String[] line = {"evaluate", "--load", save.toString()};
      assertEquals(Main.run(line, System.out, System.err), 0);
    } finally {
      System.setOut(console);
    }
    String said = out.toString(StandardCharsets.UTF_8);
    Matcher bits = Pattern.compile("bits a character: (\\d\\.\\d+)").matcher(said);
    assertTrue(bits.find(), said);
    assertEquals(Double.parseDouble(bits.group(1)), loss / Math.log(2), 1e-4);
  }

  /** The costs have the parameters that the model has, and its products' operations. */
  @Test(dataProvider = "kinds")
  public void whatItCosts(String experts) {
    ModelSpec model = run(experts).model();
    Costs costs = family.costs(model, 256);
    try (ParameterSet parameters = Testing.parameters()) {
      family.model(model, 256, 4, parameters);
      assertEquals(costs.parameters().total(), parameters.elements());
    }
    // Two products of h x 3h, two of h x 2h (of two experts each), one of h x V, three times each.
    int times = experts.isEmpty() ? 1 : 2;
    assertEquals(costs.flops(1, 4), 2.0 * 3 * 12 * (16 * 48 * 2 + 16 * 32 * 2 * times + 16 * 256));
  }

  /** A layout that it does not have is refused in a sentence. */
  @Test
  public void whatIsRefused() {
    assertEquals(
        expectThrows(
                IllegalArgumentException.class, () -> run(" --tensor-model-parallel-size 2", 2))
            .getMessage(),
        "--tensor-model-parallel-size 2: a character RNN's matrices are whole on every process");
  }
}
