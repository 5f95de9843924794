package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Random;
import java.util.function.UnaryOperator;
import moe4j.checkpoint.CheckpointStore;
import moe4j.data.Blend;
import moe4j.data.DataConfig;
import moe4j.data.DataSource;
import moe4j.data.GptDatasets;
import moe4j.data.SampleCounts;
import moe4j.data.SampleRules;
import moe4j.data.Split;
import moe4j.model.Datasets;
import moe4j.model.LanguageModel;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.model.gpt.GptFamily;
import moe4j.testing.Seeds;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import moe4j.transformer.ParameterSet;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A dataset that is cut while a run reads it costs no step that was taken. */
public class CutDataTest {
  private static final int SAMPLES = 60 * 2;

  private final Random random = Seeds.random(CutDataTest.class);

  /** A small GPT on files. */
  private record OnFiles(SmallGpt gpt, Path prefix) implements Task {
    @Override
    public int vocabulary() {
      return gpt.vocabulary();
    }

    @Override
    public Datasets datasets() throws IOException {
      GptDatasets datasets =
          GptDatasets.build(
              new DataConfig(
                  new DataSource.Shared(
                      new Blend(List.of(prefix.toString()), null), Split.parse("80,20,0")),
                  new SampleCounts(
                      OptionalLong.of(SAMPLES), OptionalLong.of(SAMPLES), OptionalLong.of(0)),
                  16,
                  1,
                  SampleRules.plain(257, 256),
                  Map.of(),
                  null),
              sentence -> {});
      return new Datasets(datasets.train(), datasets.valid(), datasets.test());
    }

    @Override
    public LanguageModel model(int padded, ParameterSet parameters) {
      return gpt.model(padded, parameters);
    }
  }

  /** Before a step's data are read, and before an evaluation's. */
  @DataProvider
  public Object[][] times() {
    // An evaluation reads from where the file is cut at once; some batches to train on are there.
    return new Object[][] {{"--eval-iters 0", 59}, {"--eval-interval 1 --eval-iters 2", 1}};
  }

  @Test(dataProvider = "times")
  public void whatWasLearntIsSaved(String evaluations, int latest) throws IOException {
    try (Workspace workspace = new Workspace()) {
      Path prefix = workspace.corpus("text", random, 300);
      Path run = workspace.path("run");
      RunConfig config =
          GptFamily.parse(
              Cli.arguments(
                      "--num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                          + " --micro-batch-size 2 --lr 1e-2 --mock-data --vocab-size 257"
                          + " --tokenizer-type NullTokenizer --train-iters 60 --log-interval 7 "
                          + evaluations
                          + " --num-threads 1 --save",
                      run)
                  .toArray(new String[0]));
      Watcher cutter =
          new Watcher() {
            @Override
            public void interval(Interval interval) {
              cut(prefix);
            }
          };
      String[] sentence = {null};
      Cli.quietly(
          () ->
              sentence[0] =
                  expectThrows(
                          UncheckedIOException.class,
                          () ->
                              Pretraining.run(
                                  config,
                                  new OnFiles(
                                      new SmallGpt(config, UnaryOperator.identity()), prefix),
                                  ShutdownSignal.install(),
                                  cutter))
                      .getMessage());
      assertTrue(
          sentence[0].startsWith(prefix + ".bin was cut while it was in use: it has 0 bytes"),
          sentence[0]);
      List<Long> saved = new CheckpointStore(run, -1).iterations();
      assertEquals(saved.size(), 1, saved.toString());
      assertTrue(saved.get(0) >= 1 && saved.get(0) <= latest, saved.toString());
      // And recorded, up to the last step that was taken.
      List<Integer> steps = RunRecord.of(run).steps();
      assertEquals((long) steps.get(steps.size() - 1), (long) saved.get(0));
    }
  }

  private static void cut(Path prefix) {
    try (RandomAccessFile file = new RandomAccessFile(prefix + ".bin", "rw")) {
      file.setLength(0);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
