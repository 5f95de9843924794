package moe4j.training.run;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotNull;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Ranks;
import moe4j.checkpoint.Section;
import moe4j.model.ModelState;
import moe4j.model.RunConfig;
import moe4j.model.TrainState;
import moe4j.model.gpt.GptFamily;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** {@code --keep-best} with losses and weights that are handed in. */
public class BestModelTest {
  private Path directory;
  private RunConfig config;
  private PointerScope scope;
  private ParameterSet parameters;
  private Tensor weight;
  private Tensor carried;

  @BeforeMethod
  public void open() throws IOException {
    directory = Files.createTempDirectory("best");
    config =
        GptFamily.parse(
            "--num-layers 1 --hidden-size 4 --num-attention-heads 1 --seq-length 4 --train-iters 9"
                .concat(" --micro-batch-size 1 --lr 1 --mock-data --keep-best --save ")
                .concat(directory.toString())
                .split(" "));
    scope = new PointerScope();
    make(ScalarType.Float);
  }

  private void make(ScalarType dtype) {
    parameters = new ParameterSet(Seeds.seed(), dtype, new Device("cpu"));
    weight = parameters.root().weight("weight", 1, 3, 5);
    carried = parameters.root().carried("memory", 2, 3);
  }

  @AfterMethod
  public void close() throws IOException {
    parameters.close();
    scope.close();
    try (var files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  private BestModel best(int from) throws IOException {
    return new BestModel(
        config, Ranks.alone(), parameters, Map.of(), state(from), () -> {}, sentence -> {});
  }

  private static TrainState state(int iteration) {
    return new TrainState(iteration, iteration, 0, 0);
  }

  private void fill(double value) {
    try (NoGradGuard guard = new NoGradGuard()) {
      weight.fill_(new Scalar(value));
      carried.fill_(new Scalar(-value));
    }
  }

  private List<Long> kept() throws IOException {
    return new CheckpointStore(directory.resolve("best"), -1).iterations();
  }

  @DataProvider
  public Object[][] types() {
    return new Object[][] {{ScalarType.Float}, {ScalarType.BFloat16}};
  }

  /** The lowest of losses in any order, the first of equal ones. */
  @Test(dataProvider = "types")
  public void theLowestIsKept(ScalarType dtype) throws IOException {
    parameters.close();
    make(dtype);
    Random random = Seeds.random(BestModelTest.class);
    BestModel best = best(0);
    assertEquals(best.loss(), Double.POSITIVE_INFINITY);
    double lowest = Double.POSITIVE_INFINITY;
    int at = 0;
    for (int step = 1; step <= 12; step++) {
      fill(step);
      // A few values, so that some come twice.
      double loss = random.nextInt(6) == 0 ? Double.NaN : 1 + random.nextInt(8) / 4.0;
      String saved = best.offer(state(step), loss);
      assertEquals(saved != null, loss < lowest, "step %d: %s".formatted(step, loss));
      if (loss < lowest) {
        lowest = loss;
        at = step;
        assertEquals(saved, directory.resolve("best/iter_%07d".formatted(step)).toString());
      }
      assertEquals(best.loss(), lowest);
      assertEquals(kept(), at == 0 ? List.of() : List.of((long) at));
    }
    fill(100);
    if (at == 0) {
      at = 13;
      fill(at);
      assertNotNull(best.offer(state(at), 1));
    }
    assertEquals(best.restore(sentence -> {}), at);
    for (float value : Tensors.floats(weight)) {
      assertEquals(value, (float) at);
    }
    assertEquals(Tensors.floats(carried)[0], (float) -at);
  }

  /** What is not a number is no loss, not even the first; nor is one that is infinite. */
  @Test
  public void whatIsNoLoss() throws IOException {
    BestModel best = best(0);
    assertNull(best.offer(state(1), Double.NaN));
    assertNull(best.offer(state(2), Double.POSITIVE_INFINITY));
    assertEquals(kept(), List.of());
    fill(7);
    assertEquals(best.restore(sentence -> {}), -1);
    assertEquals(Tensors.floats(weight)[0], 7f);
  }

  /** A run taken up behind the best knows its loss, and keeps nothing that is worse. */
  @Test
  public void aRunThatGoesOnKnowsTheLoss() throws IOException {
    BestModel first = best(0);
    fill(20);
    first.offer(state(20), 1.25);
    BestModel second = best(30);
    assertEquals(second.loss(), 1.25);
    assertNull(second.offer(state(40), 1.5));
    assertEquals(kept(), List.of(20L));
    fill(50);
    assertEquals(second.restore(sentence -> {}), 20);
    assertEquals(Tensors.floats(weight)[0], 20f);
    // At the step itself it was saved before the run's own checkpoint.
    assertEquals(best(20).loss(), 1.25);
  }

  /** One taken up before it takes those steps anew: the old best is neither measure nor result. */
  @Test
  public void aRunThatGoesOnFromBefore() throws IOException {
    BestModel first = best(0);
    fill(20);
    first.offer(state(20), 1.25);
    BestModel second = best(10);
    assertEquals(second.loss(), Double.POSITIVE_INFINITY);
    fill(11);
    assertEquals(second.restore(sentence -> {}), -1);
    assertEquals(Tensors.floats(weight)[0], 11f);
    fill(15);
    assertNotNull(second.offer(state(15), 1.5));
    fill(16);
    assertEquals(second.restore(sentence -> {}), 15);
    assertEquals(Tensors.floats(weight)[0], 15f);
    assertEquals(kept(), List.of(15L));
  }

  /** The weights of another run that lie there are not this one's. */
  @Test
  public void anotherRunsBest() throws IOException {
    fill(20);
    best(0).offer(state(20), 1.25);
    fill(3);
    BestModel second = best(0);
    assertEquals(second.loss(), Double.POSITIVE_INFINITY);
    assertEquals(second.restore(sentence -> {}), -1);
    assertEquals(Tensors.floats(weight)[0], 3f);
    // The first of its own takes the other's place, though it is of an earlier step.
    assertNotNull(second.offer(state(5), 9));
    fill(6);
    assertEquals(second.restore(sentence -> {}), 5);
    assertEquals(Tensors.floats(weight)[0], 3f);
  }

  /** The optimizer's state is not kept: it is three times the size, and nobody goes on from it. */
  @Test
  public void onlyTheModelIsKept() throws IOException {
    BestModel best = best(0);
    best.offer(state(4), 2);
    List<String> warnings = new ArrayList<>();
    try (Checkpoint checkpoint =
        new CheckpointStore(directory.resolve("best"), -1)
            .loadLatest(EnumSet.allOf(Section.class), warnings::add)
            .orElseThrow()) {
      assertTrue(checkpoint.contains("weight"));
      assertFalse(checkpoint.contains(ModelState.STEP));
      assertEquals(checkpoint.info().iteration(), 4);
      assertEquals(warnings, List.of());
    }
    // The run's own checkpoints are others.
    assertEquals(new CheckpointStore(directory, -1).iterations(), List.of());
  }
}
