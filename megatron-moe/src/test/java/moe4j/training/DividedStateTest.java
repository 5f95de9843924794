package moe4j.training;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointInfo;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Section;
import moe4j.checkpoint.TensorSource;
import moe4j.model.ModelState;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.DividedModel;
import moe4j.optimizer.DividedModel.Way;
import moe4j.optimizer.OptimizerState;
import moe4j.parallel.Layout;
import moe4j.parallel.ThreadRanks;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Parameter;
import moe4j.transformer.Parameter.Piece;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The state of one layout saved, and loaded into others. */
public class DividedStateTest {
  private static final String FLAGS = "--weight-decay 0.1 --clip-grad 1";
  private static final String PARTS = "--use-distributed-optimizer";
  private static final String BUCKETS =
      "--use-distributed-optimizer --ddp-bucket-size 150 --overlap-grad-reduce";

  private Path directory;

  @BeforeMethod
  public void open() throws IOException {
    directory = Files.createTempDirectory("state");
  }

  @AfterMethod
  public void close() throws IOException {
    try (var files = Files.walk(directory)) {
      for (Path file : files.sorted(java.util.Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  @DataProvider
  public Object[][] changes() {
    Layout one = Layout.SINGLE;
    Layout copies = new Layout(2, 1, 1, 1);
    Layout four = new Layout(4, 2, 1, 2);
    Layout eight = new Layout(8, 2, 2, 2);
    List<Object[]> changes = new ArrayList<>();
    for (ScalarType dtype : List.of(ScalarType.Float, ScalarType.BFloat16)) {
      Way[] ways = {
        new Way(one, dtype, ""),
        new Way(copies, dtype, BUCKETS),
        new Way(four, dtype, ""),
        new Way(eight, dtype, PARTS),
        new Way(new Layout(4, 1, 4, 1), dtype, PARTS),
      };
      for (int i = 0; i < ways.length; i++) {
        changes.add(new Object[] {ways[i], ways[(i + 1) % ways.length]});
        changes.add(new Object[] {ways[i], ways[(i + 3) % ways.length]});
      }
    }
    return changes.toArray(new Object[0][]);
  }

  private interface Body {
    void run(AdamW optimizer, ParameterSet parameters) throws Exception;
  }

  private static void onRanks(Way way, Body body) {
    ThreadRanks.run(
        way.layout(),
        false,
        groups -> {
          try (ParameterSet parameters = DividedModel.parameters(groups, way.dtype());
              AdamW optimizer =
                  new AdamW(
                      parameters,
                      DividedModel.optimizer(FLAGS),
                      DividedModel.MICRO_BATCHES,
                      way.config())) {
            body.run(optimizer, parameters);
          }
        });
  }

  private static void step(AdamW optimizer, ParameterSet parameters, int step) {
    DividedModel.microBatches(optimizer, parameters, step, DividedModel::normals);
    optimizer.step();
  }

  /** All ranks' sources, saved by one of them while the others stand still. */
  private void save(Way way, boolean optimizerToo, Body before) {
    List<TensorSource> model = Collections.synchronizedList(new ArrayList<>());
    List<TensorSource> state = Collections.synchronizedList(new ArrayList<>());
    CyclicBarrier barrier = new CyclicBarrier(way.layout().world());
    onRanks(
        way,
        (optimizer, parameters) -> {
          before.run(optimizer, parameters);
          model.addAll(ModelState.model(parameters));
          if (optimizerToo) {
            state.addAll(ModelState.optimizer(optimizer));
          }
          barrier.await();
          if (optimizer.groups().world().rank() == 0) {
            // What does not make up whole tensors, each element once, is refused.
            new CheckpointStore(directory, -1).save(info(), model, state);
          }
          barrier.await();
        });
  }

  private static CheckpointInfo info() {
    var empty = JsonNodeFactory.instance.objectNode();
    return new CheckpointInfo(
        1, 0, 0, 0, 1, Map.of(), empty, "", "", JsonNodeFactory.instance.objectNode());
  }

  private Checkpoint load() throws IOException {
    return new CheckpointStore(directory, -1)
        .loadLatest(EnumSet.allOf(Section.class), warning -> {})
        .orElseThrow();
  }

  /** What one rank has, by global name; of the optimizer with a prefix. */
  private static void collect(AdamW optimizer, ParameterSet parameters, Map<String, float[]> all) {
    for (OptimizerState state : optimizer.states()) {
      for (Piece piece : state.parameter().pieces()) {
        Scopes.run(
            () -> {
              all.put("m " + piece.name(), Tensors.floats(piece.of(state.expAvg())));
              all.put("v " + piece.name(), Tensors.floats(piece.of(state.expAvgSq())));
              all.put("w " + piece.name(), Tensors.floats(piece.of(state.master().detach())));
            });
      }
    }
    for (Parameter p : parameters.all()) {
      for (Piece piece : p.pieces()) {
        Scopes.run(() -> all.put(piece.name(), Tensors.floats(piece.of(p.tensor().detach()))));
      }
    }
  }

  private static float[] part(
      Parameter p, OptimizerState state, String prefix, Map<String, float[]> all) {
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      Map<String, Tensor> whole = new HashMap<>();
      for (Piece piece : p.pieces()) {
        long[] shape = piece.globalShape().stream().mapToLong(Long::longValue).toArray();
        whole.put(piece.name(), Tensors.of(all.get(prefix + piece.name()), shape));
      }
      Tensor part = DividedModel.part(p, whole::get);
      return Tensors.floats(state == null ? part : state.of(part));
    }
  }

  /** Saved in one layout and loaded into another, all is bit for bit what one rank loads. */
  @Test(dataProvider = "changes")
  public void anyLayoutLoadsAnyOthers(Way from, Way to) {
    Map<String, float[]> trained = new HashMap<>();
    save(
        from,
        true,
        (optimizer, parameters) -> {
          step(optimizer, parameters, 0);
          step(optimizer, parameters, 1);
          if (from.layout().world() == 1) {
            collect(optimizer, parameters, trained);
          }
        });
    Map<String, float[]> loaded = new HashMap<>();
    Map<String, float[]> continued = new HashMap<>();
    onRanks(
        Way.whole(from.dtype()),
        (optimizer, parameters) -> {
          try (Checkpoint checkpoint = load()) {
            ModelState.loadModel(checkpoint, parameters);
            ModelState.loadOptimizer(checkpoint, optimizer);
          }
          collect(optimizer, parameters, loaded);
          DividedModel.microBatchesOfAll(
              optimizer, parameters, to.layout(), 2, DividedModel::normals);
          optimizer.step();
          collect(optimizer, parameters, continued);
        });
    trained.forEach((name, values) -> assertEquals(loaded.get(name), values, name));
    onRanks(
        to,
        (optimizer, parameters) -> {
          try (Checkpoint checkpoint = load()) {
            ModelState.loadModel(checkpoint, parameters);
            ModelState.loadOptimizer(checkpoint, optimizer);
          }
          assertEquals(Tensors.item(optimizer.stepCounter()), 2.0);
          for (Parameter p : parameters.all()) {
            assertEquals(Tensors.floats(p.tensor()), part(p, null, "", loaded), p.name());
          }
          for (OptimizerState s : optimizer.states()) {
            Parameter p = s.parameter();
            assertEquals(Tensors.floats(s.master()), part(p, s, "w ", loaded), p.name());
            assertEquals(Tensors.floats(s.expAvg()), part(p, s, "m ", loaded), p.name());
            assertEquals(Tensors.floats(s.expAvgSq()), part(p, s, "v ", loaded), p.name());
          }
          step(optimizer, parameters, 2);
          for (OptimizerState s : optimizer.states()) {
            Parameter p = s.parameter();
            assertClose(
                p.name(), Tensors.floats(s.master()), part(p, s, "w ", continued), 2e-6, 1e-2);
          }
        });
  }

  /** The model alone: masters begin at the weights, in segments too. */
  @Test
  public void mastersOfWeightsAlone() {
    Way from = new Way(new Layout(2, 2, 1, 1), ScalarType.BFloat16, "");
    Way to = new Way(new Layout(4, 2, 2, 2), ScalarType.BFloat16, PARTS);
    save(from, false, (optimizer, parameters) -> step(optimizer, parameters, 0));
    onRanks(
        to,
        (optimizer, parameters) -> {
          List<float[]> initial = new ArrayList<>();
          optimizer.states().forEach(s -> initial.add(Tensors.floats(s.master())));
          try (Checkpoint checkpoint = load()) {
            ModelState.loadModel(checkpoint, parameters);
          }
          ModelState.resetMasters(optimizer);
          boolean moved = false;
          for (int i = 0; i < initial.size(); i++) {
            OptimizerState s = optimizer.states().get(i);
            float[] master = Tensors.floats(s.master());
            try (NoGradGuard guard = new NoGradGuard()) {
              assertEquals(master, Tensors.floats(s.of(s.parameter().tensor())));
            }
            moved |= !java.util.Arrays.equals(master, initial.get(i));
          }
          assertTrue(moved);
        });
  }

  /** An fp32 model's checkpoint has no masters: a bf16 model's are its parameters. */
  @Test
  public void mastersOfAnFp32Checkpoint() {
    Way from = new Way(new Layout(2, 1, 2, 1), ScalarType.Float, PARTS);
    Way to = new Way(new Layout(2, 2, 1, 2), ScalarType.BFloat16, PARTS);
    Map<String, float[]> saved = new HashMap<>();
    save(from, true, (optimizer, parameters) -> step(optimizer, parameters, 0));
    onRanks(
        Way.whole(ScalarType.Float),
        (optimizer, parameters) -> {
          try (Checkpoint checkpoint = load()) {
            ModelState.loadModel(checkpoint, parameters);
          }
          collect(optimizer, parameters, saved);
        });
    onRanks(
        to,
        (optimizer, parameters) -> {
          try (Checkpoint checkpoint = load()) {
            ModelState.loadModel(checkpoint, parameters);
            ModelState.loadOptimizer(checkpoint, optimizer);
          }
          for (OptimizerState s : optimizer.states()) {
            assertEquals(Tensors.floats(s.master()), part(s.parameter(), s, "", saved));
          }
        });
  }
}
