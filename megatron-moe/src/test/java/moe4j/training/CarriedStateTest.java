package moe4j.training;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointInfo;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Section;
import moe4j.checkpoint.TensorSource;
import moe4j.model.ModelState;
import moe4j.parallel.Groups;
import moe4j.parallel.Layout;
import moe4j.parallel.ThreadRanks;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * What is carried from step to step for each row of a batch: saved by any number of data-parallel
 * ranks, their rows one behind the other, and read back by any other number.
 */
public class CarriedStateTest {
  private static final int ROWS = 12;
  private static final int CHANNELS = 5;

  private Path directory;

  @BeforeMethod
  public void open() throws IOException {
    directory = Files.createTempDirectory("carried");
  }

  @AfterMethod
  public void close() throws IOException {
    try (var files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  /** What a rank has of a model that carries something in each of two layers. */
  private record Model(ParameterSet parameters, List<Tensor> carried, Tensor count, Tensor passing)
      implements AutoCloseable {
    static Model of(Groups groups, ScalarType dtype, int allRows) {
      ParameterSet parameters = new ParameterSet(Seeds.seed(), dtype, new Device("cpu"), groups);
      ParameterScope root = parameters.root();
      root.weight("weight", 1, 3, 2);
      int rows = allRows / groups.data().size();
      List<Tensor> carried = new ArrayList<>();
      for (int layer = 0; layer < 2; layer++) {
        carried.add(root.child("memory").carried("layers." + layer, rows, 2, CHANNELS));
      }
      Tensor count = root.buffer("count", 3);
      Tensor passing = root.child("evaluation").passing(rows, CHANNELS);
      return new Model(parameters, carried, count, passing);
    }

    /** This rank's numbers of the whole's, all of them told apart, and exact in bf16. */
    float[] expected(int layer) {
      int rows = (int) carried.get(layer).size(0);
      int first = rows * parameters.groups().data().rank();
      float[] values = new float[rows * 2 * CHANNELS];
      for (int i = 0; i < values.length; i++) {
        int row = first + i / (2 * CHANNELS);
        values[i] = (row * 2 * CHANNELS + i % (2 * CHANNELS)) * (layer == 0 ? 1 : -1) + 0.0f;
      }
      return values;
    }

    void fill() {
      try (NoGradGuard guard = new NoGradGuard()) {
        for (int layer = 0; layer < 2; layer++) {
          Tensor tensor = carried.get(layer);
          tensor.copy_(Tensors.of(expected(layer), tensor.shape()));
        }
        count.copy_(Tensors.of(new float[] {1, 2, 3}));
      }
    }

    @Override
    public void close() {
      parameters.close();
    }
  }

  private static Layout data(int ranks) {
    return new Layout(ranks, 1, 1, 1);
  }

  @DataProvider
  public Object[][] changes() {
    List<Object[]> changes = new ArrayList<>();
    // Also tensor-parallel ranks, which have the same rows: they are saved once.
    Layout[] layouts = {data(1), data(2), data(3), new Layout(4, 2, 1, 1), new Layout(4, 1, 2, 1)};
    for (ScalarType dtype : List.of(ScalarType.Float, ScalarType.BFloat16)) {
      for (int i = 0; i < layouts.length; i++) {
        for (int step = 0; step < 3; step++) {
          changes.add(new Object[] {layouts[i], layouts[(i + step) % layouts.length], dtype});
        }
      }
    }
    return changes.toArray(new Object[0][]);
  }

  private void save(Layout layout, ScalarType dtype) {
    List<TensorSource> sources = Collections.synchronizedList(new ArrayList<>());
    CyclicBarrier barrier = new CyclicBarrier(layout.world());
    ThreadRanks.run(
        layout,
        false,
        groups -> {
          try (Model model = Model.of(groups, dtype, ROWS)) {
            model.fill();
            sources.addAll(ModelState.model(model.parameters()));
            barrier.await();
            try {
              if (groups.world().rank() == 0) {
                // What does not make up whole tensors, each element once, is refused.
                new CheckpointStore(directory, -1).save(info(), sources, List.of());
              }
            } finally {
              // Also where it is: the others wait with their tensors.
              barrier.await();
            }
          }
        });
  }

  private static CheckpointInfo info() {
    var empty = JsonNodeFactory.instance.objectNode();
    return new CheckpointInfo(1, 0, 0, 0, 1, Map.of(), empty, "", "", empty);
  }

  private Checkpoint load() throws IOException {
    return new CheckpointStore(directory, -1)
        .loadLatest(EnumSet.of(Section.MODEL), warning -> {})
        .orElseThrow();
  }

  private void loaded(Layout layout, ScalarType dtype) {
    ThreadRanks.run(
        layout,
        false,
        groups -> {
          try (Model model = Model.of(groups, dtype, ROWS);
              Checkpoint checkpoint = load()) {
            ModelState.loadModel(checkpoint, model.parameters());
            for (int layer = 0; layer < 2; layer++) {
              Tensor tensor = model.carried().get(layer);
              assertEquals(Tensors.dtype(tensor), dtype);
              assertEquals(Tensors.floats(tensor), model.expected(layer), "layer " + layer);
            }
            assertEquals(Tensors.dtype(model.count()), ScalarType.Float);
            assertEquals(Tensors.floats(model.count()), new float[] {1, 2, 3});
          }
        });
  }

  @Test(dataProvider = "changes")
  public void anyNumberOfRanksReadsAnyOthers(Layout from, Layout to, ScalarType dtype)
      throws IOException {
    save(from, dtype);
    try (Checkpoint checkpoint = load()) {
      assertEquals(
          checkpoint.tensor("memory.layers.1").shape(), List.of((long) ROWS, 2L, (long) CHANNELS));
      // What passes from batch to batch of an evaluation is nobody's business later.
      assertTrue(
          checkpoint.manifest().tensors().keySet().stream()
              .noneMatch(name -> name.startsWith("evaluation")));
    }
    loaded(to, dtype);
  }

  /** bf16 of an fp32 run and the other way round. */
  @Test
  public void inAnotherType() throws IOException {
    save(data(2), ScalarType.Float);
    loaded(data(3), ScalarType.BFloat16);
    save(data(3), ScalarType.BFloat16);
    loaded(data(2), ScalarType.Float);
  }

  /** Another batch has other rows: they are nobody's. */
  @Test
  public void anotherBatchIsRefused() throws IOException {
    save(data(2), ScalarType.Float);
    try (Model model = Model.of(Groups.single(), ScalarType.Float, 10);
        Checkpoint checkpoint = load()) {
      String sentence =
          expectThrows(
                  IOException.class, () -> ModelState.loadModel(checkpoint, model.parameters()))
              .getMessage();
      assertEquals(
          sentence,
          "checkpoint %s has memory.layers.0 with shape [12, 2, 5], the model wants [10, 2, 5]"
              .formatted(checkpoint.directory()));
    }
  }

  /** They are no parameters: nothing trains, counts or decays them. */
  @Test
  public void carriedIsNoParameter() {
    try (Model model = Model.of(Groups.single(), ScalarType.BFloat16, ROWS)) {
      assertEquals(model.parameters().all().size(), 1);
      assertEquals(model.parameters().elements(), 6);
      assertEquals(model.parameters().buffers().size(), 3);
      assertEquals(Tensors.dtype(model.passing()), ScalarType.BFloat16);
      for (Tensor tensor : model.carried()) {
        assertEquals(Tensors.item(tensor.abs().max()), 0.0);
        assertEquals(tensor.requires_grad(), false);
      }
      model.parameters().remove("memory.layers.0");
      assertEquals(model.parameters().buffers().size(), 2);
      assertTrue(model.carried().get(0).isNull());
    }
  }
}
