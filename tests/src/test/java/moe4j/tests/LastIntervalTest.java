package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** A record goes as far as its run, though the last log interval is a shorter one. */
public class LastIntervalTest {
  private final Random random = Seeds.random(LastIntervalTest.class);
  private Workspace workspace;
  private List<String> base;

  @BeforeClass
  public void make() throws IOException {
    workspace = new Workspace();
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --train-iters 11"
                + " --tokenizer-type ByteTokenizer --make-vocab-size-divisible-by 1"
                + " --num-experts 4 --moe-ffn-hidden-size 16 --split 80,10,10 --eval-iters 1"
                + " --eval-interval 11 --num-threads 1 --seed",
            random.nextInt(1 << 20),
            "--data-path",
            workspace.corpus("corpus", random, 100));
  }

  @AfterClass
  public void delete() throws IOException {
    workspace.close();
  }

  private Path run(String name, String flags, Object... more) {
    Path run = workspace.path(name);
    List<String> line = Cli.with(base, flags, more);
    line.addAll(List.of("--save", run.toString()));
    Cli.Result result = Cli.run(line).ok();
    assertTrue(!result.out().contains("is missing there"), result.out());
    return run;
  }

  private static double mean(Map<Integer, String> losses, int from, int to) {
    double sum = 0;
    for (int step = from; step <= to; step++) {
      sum += Double.parseDouble(losses.get(step));
    }
    return sum / (to - from + 1);
  }

  /** Each line's loss is the mean of its steps', whether the run ends there or was stopped. */
  @Test
  public void theLastStepsAreRecorded() throws IOException {
    Map<Integer, String> each = RunRecord.of(run("each", "--log-interval 1")).texts("lm loss");
    Path whole = run("whole", "--log-interval 4 --tensorboard-dir", workspace.path("events"));
    RunRecord straight = RunRecord.of(whole);
    assertEquals(straight.steps(), List.of(1, 4, 8, 11));
    int[][] steps = {{1, 1}, {1, 4}, {5, 8}, {9, 11}};
    assertMeans(straight, each, steps);
    try (Stream<Path> events = Files.list(workspace.path("events"))) {
      String text =
          new String(
              Files.readAllBytes(events.findFirst().orElseThrow()), StandardCharsets.ISO_8859_1);
      assertEquals(Stream.of(text.split("lm loss vs samples", -1)).count() - 1, steps.length);
    }

    Path stopped = run("stopped", "--log-interval 4 --exit-interval 6");
    RunRecord first = RunRecord.of(stopped);
    assertEquals(first.steps(), List.of(1, 4, 6));
    assertMeans(first, each, new int[][] {{1, 1}, {1, 4}, {5, 6}});
    run("stopped", "--log-interval 4", "--load", stopped);
    RunRecord resumed = RunRecord.of(stopped);
    assertEquals(resumed.steps(), List.of(1, 4, 6, 7, 8, 11));
    assertMeans(resumed, each, new int[][] {{1, 1}, {1, 4}, {5, 6}, {7, 7}, {7, 8}, {9, 11}});
    for (RunRecord record : List.of(straight, resumed)) {
      List<JsonNode> evaluations = record.lines("validation");
      assertEquals(
          evaluations.stream().map(line -> line.get("set").asText()).toList(),
          List.of("iteration", "validation set again", "test set"));
    }
  }

  private static void assertMeans(RunRecord record, Map<Integer, String> each, int[][] steps) {
    List<Double> wanted = new ArrayList<>();
    for (int[] of : steps) {
      wanted.add(mean(each, of[0], of[1]));
    }
    double[] found = record.numbers("lm loss");
    assertEquals(found.length, wanted.size());
    List<JsonNode> loads = record.lines("expert_load");
    for (int i = 0; i < found.length; i++) {
      assertEquals(found[i], wanted.get(i), 1e-5, "interval " + i);
      // Two choices for each of 4 sequences of 16 tokens a step.
      long rows = 0;
      for (JsonNode tokens : loads.get(i).get("layers").get(0).get("tokens")) {
        rows += tokens.asLong();
      }
      assertEquals(rows, (steps[i][1] - steps[i][0] + 1) * 128L, "interval " + i);
    }
  }
}
