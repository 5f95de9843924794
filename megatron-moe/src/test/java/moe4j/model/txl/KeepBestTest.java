package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Stream;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Section;
import moe4j.data.Part;
import moe4j.data.stream.SegmentDataset;
import moe4j.model.ModelState;
import moe4j.moe.Moe;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import moe4j.training.step.BatchBuffers;
import moe4j.training.step.Evaluator;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * The weights of the lowest validation loss are kept, and the test set is evaluated with them: in
 * runs whose learning rate rises until they unlearn what they had.
 */
public class KeepBestTest {
  private static final String FLAGS =
      SmallRun.SHAPE
          + " --vocabulary bytes --scheduler constant --max-step 30 --warmup-step 29 --lr 3"
          + " --eval-interval 3";

  private final Random random = Seeds.random(KeepBestTest.class);

  @DataProvider
  public Object[][] kinds() {
    return new Object[][] {{""}, {SmallRun.EXPERTS + " --bf16"}};
  }

  private static int best(Map<Integer, Double> losses) {
    return Collections.min(losses.entrySet(), Map.Entry.comparingByValue()).getKey();
  }

  private static List<String> kept(Path work) throws IOException {
    try (Stream<Path> files = Files.list(work.resolve("best"))) {
      return files.filter(Files::isDirectory).map(file -> file.getFileName().toString()).toList();
    }
  }

  @Test(dataProvider = "kinds")
  public void theBestIsKept(String more) throws IOException {
    try (TempDir folder = new TempDir();
        PointerScope scope = new PointerScope()) {
      Path work = folder.path("run");
      TransformerXlRun run =
          SmallRun.parse(
              FLAGS + more,
              "--data-file",
              folder.text("text", random, 1200),
              "--split-bytes",
              "600,300,300",
              "--work-dir",
              work);
      Map<Integer, Map<String, float[]>> weights = new TreeMap<>();
      SmallRun small =
          SmallRun.of(run, each -> weights.put(each.last(), new TreeMap<>(each.weights)));
      int best = best(small.validation);
      assertTrue(best > 0 && best < 30, "the last is the best: " + small.validation);
      assertEquals(kept(work), List.of("iter_%07d".formatted(best)));
      try (Checkpoint checkpoint = checkpoint(work);
          ParameterSet parameters = parameters(run)) {
        TransformerXl model = model(run, parameters);
        ModelState.loadModel(checkpoint, parameters);
        assertEquals(checkpoint.info().iteration(), best);
        assertEquals(
            checkpoint.info().extra().get("validation_loss").asDouble(),
            small.validation.get(best));
        parameters
            .all()
            .forEach(
                p ->
                    assertEquals(
                        Tensors.floats(p.tensor()), weights.get(best).get(p.name()), p.name()));
        assertEquals(loss(run, model, Part.VALID), small.validation.get(best), 1e-6);
        assertEquals(loss(run, model, Part.TEST), small.test, 1e-6);
      }
      assertTrue(
          small.said.contains("the test set with the weights of iteration " + best),
          small.said.toString());
      // What is gone on with is the last, not the best.
      assertEquals(new CheckpointStore(work, -1).iterations(), List.of(30L), small.said.toString());
    }
  }

  /** A run that is taken up again when the best is behind it keeps that, and ends with it. */
  @Test
  public void aResumedRunKnowsTheBest() throws IOException {
    try (TempDir folder = new TempDir()) {
      Object[] data = {
        "--data-file", folder.text("text", random, 1200), "--split-bytes", "600,300,300"
      };
      SmallRun whole =
          SmallRun.of(SmallRun.parse(FLAGS, with(data, "--work-dir", folder.path("whole"))));
      int best = best(whole.validation);
      assertTrue(best < 24, whole.validation.toString());
      Path work = folder.path("parts");
      SmallRun.of(SmallRun.parse(FLAGS + " --exit-interval 25", with(data, "--work-dir", work)));
      assertEquals(kept(work), List.of("iter_%07d".formatted(best)));
      SmallRun second =
          SmallRun.of(SmallRun.parse(FLAGS + " --restart", with(data, "--work-dir", work)));
      assertTrue(best(second.validation) > 25);
      assertEquals(kept(work), List.of("iter_%07d".formatted(best)));
      assertEquals(second.test, whole.test);
      assertTrue(
          second.said.contains("the test set with the weights of iteration " + best),
          second.said.toString());
    }
  }

  /** Without a validation set nothing is the best, and the test set is for the last. */
  @Test
  public void withoutAValidationSet() throws IOException {
    try (TempDir folder = new TempDir();
        PointerScope scope = new PointerScope()) {
      Path work = folder.path("run");
      TransformerXlRun run =
          SmallRun.parse(
              FLAGS + " --lr 0.01",
              "--data-file",
              folder.text("text", random, 1200),
              "--split-bytes",
              "600,0,300",
              "--work-dir",
              work);
      SmallRun small = SmallRun.of(run);
      assertEquals(small.validation, Map.of());
      assertTrue(Files.notExists(work.resolve("best")));
      assertTrue(
          small.said.stream().noneMatch(s -> s.contains("weights of iteration")),
          small.said.toString());
      try (Checkpoint checkpoint =
              new CheckpointStore(work, -1)
                  .loadLatest(EnumSet.of(Section.MODEL), warning -> {})
                  .orElseThrow();
          ParameterSet parameters = parameters(run)) {
        TransformerXl model = model(run, parameters);
        assertNotEquals(loss(run, model, Part.TEST), small.test, 1e-3);
        ModelState.loadModel(checkpoint, parameters);
        assertEquals(loss(run, model, Part.TEST), small.test, 1e-6);
      }
    }
  }

  private static Object[] with(Object[] some, Object... more) {
    return Stream.concat(Stream.of(some), Stream.of(more)).toArray();
  }

  private static Checkpoint checkpoint(Path work) throws IOException {
    return new CheckpointStore(work.resolve("best"), -1)
        .loadLatest(EnumSet.of(Section.MODEL), warning -> {})
        .orElseThrow();
  }

  private static ParameterSet parameters(TransformerXlRun run) {
    ScalarType dtype = run.config().training().bf16() ? ScalarType.BFloat16 : ScalarType.Float;
    return new ParameterSet(3, dtype, new Device("cpu"));
  }

  private static TransformerXl model(TransformerXlRun run, ParameterSet parameters) {
    return TransformerXl.create(
        run.model(),
        256,
        4,
        Moe.feedForward(run.model().layerShape(), run.config().moe()),
        parameters);
  }

  private static double loss(TransformerXlRun run, TransformerXl trained, Part part)
      throws IOException {
    TransformerXlConfig.Lengths lengths = run.model().lengths().evaluation(4);
    TransformerXl model = trained.with(lengths, 2);
    SegmentDataset data = run.corpus().open().segments(part, 2, 4, 0, 1);
    try (BatchBuffers buffers =
            new BatchBuffers(
                new BatchBuffers.Form(new Device("cpu"), 2, lengths.queries(), true, false));
        Evaluator evaluator = new Evaluator(model, buffers)) {
      return evaluator.loss(data, 0, data.size());
    }
  }
}
