package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Section;
import moe4j.checkpoint.Slice;
import moe4j.checkpoint.StoredTensor;
import moe4j.checkpoint.TensorSource;
import moe4j.model.LanguageModel;
import moe4j.model.RunConfig;
import moe4j.model.TrainState;
import moe4j.model.gpt.GptFamily;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import moe4j.training.step.TrainingListener;
import moe4j.transformer.Batch;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What becomes of a run whose loss or gradients are not finite. */
public class DivergenceTest {
  private static final String EXPERTS = " --num-experts 4 --moe-aux-loss-coeff 0.01";
  private static final String GO_ON = "--no-check-for-nan-in-loss-and-grad";

  private final Random random = Seeds.random(DivergenceTest.class);
  private Workspace workspace;
  private List<String> base;

  @BeforeClass
  public void makeWorkspace() {
    workspace = new Workspace();
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --mock-data"
                + " --tokenizer-type NullTokenizer --vocab-size 60 --eval-iters 0 --log-interval 1"
                + " --num-threads 1 --seed "
                + random.nextInt(1 << 20));
  }

  @AfterClass
  public void deleteWorkspace() throws IOException {
    workspace.close();
  }

  @DataProvider
  public Object[][] models() {
    return new Object[][] {
      {"dense", "", "decoder.layers.0.mlp.linear_fc1.weight"},
      {"experts", EXPERTS, "decoder.layers.0.mlp.router.weight"},
      {"bf16", " --bf16", "embedding.word_embeddings.weight"},
    };
  }

  @Test(dataProvider = "models")
  public void nanWeightStopsTheRun(String name, String flags, String weight) throws IOException {
    Path sound = workspace.path(name + "-sound");
    Path run = workspace.path(name + "-nan");
    Cli.run(Cli.with(base, "--train-iters 2" + flags, "--save", sound)).ok();
    poison(sound, run, weight);
    Map<String, byte[]> before = Workspace.contents(run);

    List<String> line =
        Cli.with(base, "--train-iters 5 --save-interval 1" + flags, "--load", run, "--save", run);
    Cli.Result stopped = Cli.run(line);
    assertEquals(stopped.status(), 1);
    assertEquals(stopped.err().lines().count(), 1, stopped.err());
    assertTrue(
        stopped.err().startsWith("moe4j pretrain-gpt: iteration 3: ")
            && stopped.err().contains(GO_ON),
        stopped.err());
    Map<String, byte[]> after = Workspace.contents(run);
    assertTrue(after.remove("metrics.jsonl").length > 0);
    // What it was and what it said is the stopped run's, as its hold on the directory is.
    after.keySet().removeAll(List.of("config.yaml", "log.txt", "run.lock", "run.owner"));
    assertEquals(after.keySet(), before.keySet());
    before.forEach((file, bytes) -> assertEquals(after.get(file), bytes, file));

    Cli.Result passed = Cli.run(Cli.with(line, GO_ON)).ok();
    assertEquals(
        passed.out().lines().filter(l -> l.contains("number of skipped iterations:   1")).count(),
        3,
        passed.out());
    assertFalse(passed.out().contains("lm loss:"), passed.out());
    // From the first of them on: a NaN's bits may differ once it was rounded to bf16.
    Map<String, byte[]> wanted = tensors(run, 3);
    Map<String, byte[]> found = tensors(run, 5);
    assertEquals(found.keySet(), wanted.keySet());
    wanted.forEach((tensor, bytes) -> assertEquals(found.get(tensor), bytes, tensor));
    assertEquals(
        List.copyOf(RunRecord.of(run).texts("learning rate").values()).stream().distinct().count(),
        1,
        "the schedule does not count skipped steps");
  }

  @Test
  public void hugeLearningRateStopsTheRun() throws IOException {
    Path run = workspace.path("huge");
    String flags = "--train-iters 50 --save-interval 1 --clip-grad 0 --lr 1e30";
    Cli.Result stopped = Cli.run(Cli.with(base, flags, "--save", run));
    assertEquals(stopped.status(), 1);
    assertEquals(stopped.err().lines().count(), 1, stopped.err());
    assertTrue(stopped.err().contains("is not finite"), stopped.err());
    int taken = RunRecord.of(run).steps().size();
    assertEquals(new CheckpointStore(run, -1).iterations().size(), taken, "one each sound step");
  }

  /** One bad step among good ones: nothing but the data's place moves. */
  @Test(dataProvider = "models")
  public void aSkippedStepChangesNothing(String name, String flags, String weight)
      throws IOException {
    Path run = workspace.path(name + "-skip");
    List<String> line =
        Cli.with(base, "--train-iters 6 --log-num-zeros-in-grad " + GO_ON + flags, "--save", run);
    RunConfig config = GptFamily.parse(line.subList(1, line.size()).toArray(new String[0]));
    SmallGpt task = new SmallGpt(config, model -> new FaultyModel(model, 5));
    List<List<byte[]>> parameters = new ArrayList<>();
    List<TrainState> states = new ArrayList<>();
    Cli.quietly(
        () ->
            Pretraining.run(
                config,
                task,
                ShutdownSignal.install(),
                new Watcher() {
                  @Override
                  public void interval(TrainingListener.Interval interval) {
                    states.add(interval.state());
                    parameters.add(bytes(task.parameters()));
                  }
                }));
    // Two micro-batches a step: the fifth is the third step's first.
    for (int step = 1; step < 6; step++) {
      boolean same = step == 2;
      for (int p = 0; p < parameters.get(step).size(); p++) {
        if (same) {
          assertEquals(parameters.get(step).get(p), parameters.get(step - 1).get(p));
        }
      }
      if (!same) {
        assertNotEquals(parameters.get(step).get(0), parameters.get(step - 1).get(0));
      }
    }
    assertEquals(states.get(5), new TrainState(6, 24, 0, 4));
    RunRecord record = RunRecord.of(run);
    assertEquals(
        List.copyOf(record.texts("number of skipped iterations").values()),
        List.of("0", "0", "1", "0", "0", "0"));
    assertEquals(
        List.copyOf(record.texts("number of nan iterations").values()),
        List.of("0", "0", "1", "0", "0", "0"));
    assertEquals(record.texts("lm loss").get(3), "");
    assertEquals(record.texts("learning rate").get(3), record.texts("learning rate").get(2));
  }

  private static List<byte[]> bytes(ParameterSet parameters) {
    List<byte[]> all = new ArrayList<>();
    for (Parameter parameter : parameters.all()) {
      ByteBuffer copy =
          ByteBuffer.allocate(
              Math.toIntExact(parameter.tensor().numel() * parameter.tensor().element_size()));
      try {
        Tensors.bytes(parameter.tensor(), copy::put);
      } catch (IOException e) {
        throw new java.io.UncheckedIOException(e);
      }
      all.add(copy.array());
    }
    return all;
  }

  /** A model whose loss is NaN in one micro-batch. */
  private static final class FaultyModel implements LanguageModel {
    private final LanguageModel model;
    private final int faulty;
    private int microBatches;

    FaultyModel(LanguageModel model, int faulty) {
      this.model = model;
      this.faulty = faulty;
    }

    @Override
    public ParameterSet parameters() {
      return model.parameters();
    }

    @Override
    public Tensor loss(Batch batch, Pass pass) {
      Tensor losses = model.loss(batch, pass);
      return ++microBatches == faulty ? losses.mul(new Scalar(Double.NaN)) : losses;
    }
  }

  /** Copies a run's checkpoint with a NaN in one weight, and in its master where there is one. */
  private static void poison(Path from, Path to, String weight) throws IOException {
    try (Checkpoint checkpoint =
        new CheckpointStore(from, -1)
            .loadLatest(EnumSet.allOf(Section.class), sentence -> {})
            .orElseThrow()) {
      List<TensorSource> model = new ArrayList<>();
      List<TensorSource> optimizer = new ArrayList<>();
      for (String name : checkpoint.manifest().tensors().keySet()) {
        StoredTensor stored = checkpoint.tensor(name);
        boolean nan = name.equals(weight) || name.equals("optimizer.state.fp32_param." + weight);
        TensorSource source =
            TensorSource.whole(
                name,
                stored.dtype(),
                stored.shape(),
                sink -> {
                  ByteBuffer bytes =
                      ByteBuffer.wrap(read(checkpoint, name)).order(ByteOrder.LITTLE_ENDIAN);
                  if (nan && stored.dtype().bytes() == 4) {
                    bytes.putFloat(0, Float.NaN);
                  } else if (nan) {
                    bytes.putShort(0, (short) 0x7fc0);
                  }
                  sink.write(bytes);
                });
        (name.startsWith("optimizer.") ? optimizer : model).add(source);
      }
      new CheckpointStore(to, -1).save(checkpoint.info(), model, optimizer);
    }
  }

  /** Every tensor of a checkpoint, the optimizer's too. */
  private static Map<String, byte[]> tensors(Path run, int iteration) throws IOException {
    Map<String, byte[]> tensors = new TreeMap<>();
    try (Checkpoint checkpoint =
        new CheckpointStore(run, -1).load(iteration, EnumSet.allOf(Section.class))) {
      for (String name : checkpoint.manifest().tensors().keySet()) {
        tensors.put(name, read(checkpoint, name));
      }
    }
    return tensors;
  }

  private static byte[] read(Checkpoint checkpoint, String name) throws IOException {
    StoredTensor stored = checkpoint.tensor(name);
    Slice whole = Slice.whole(stored.shape());
    ByteBuffer bytes = ByteBuffer.allocate((int) whole.volume() * stored.dtype().bytes());
    checkpoint.read(name, whole, bytes);
    return bytes.array();
  }
}
