package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** What a run leaves beside its log, and what a bench says. */
public class RecordedRunTest {
  private final Random random = Seeds.random(RecordedRunTest.class);
  private TempDir folder;
  private String flags;

  @BeforeClass
  public void makeText() throws IOException {
    folder = new TempDir();
    flags =
        SmallRun.SHAPE
            + " --split-bytes 500,200,200 --max-step 12 --eval-interval 5 --data-file "
            + folder.text("text", random, 900);
  }

  @AfterClass
  public void delete() throws IOException {
    folder.close();
  }

  private static List<JsonNode> lines(Path run, String kind) throws IOException {
    List<JsonNode> lines = new ArrayList<>();
    for (String line : Files.readAllLines(run.resolve("metrics.jsonl"))) {
      JsonNode json = new ObjectMapper().readTree(line);
      if (json.get("kind").asText().equals(kind)) {
        lines.add(json);
      }
    }
    return lines;
  }

  /** Bits per character beside every loss, and no perplexity of them. */
  @Test
  public void metricsHaveBitsPerCharacter() throws IOException {
    Path work = folder.path("run");
    Console.command("pretrain-txl " + flags + SmallRun.EXPERTS, "--work-dir", work).ok();
    List<JsonNode> train = lines(work, "train");
    List<JsonNode> validation = lines(work, "validation");
    assertEquals(train.size(), 12);
    // Two on the way, one at the end, and the test set.
    assertEquals(
        validation.stream().map(l -> l.get("set").asText() + " " + l.get("step")).toList(),
        List.of("iteration 5", "iteration 10", "validation set 12", "test set 12"));
    for (JsonNode line : Stream.concat(train.stream(), validation.stream()).toList()) {
      JsonNode values = line.get("values");
      double loss = values.get("lm loss").asDouble();
      assertTrue(loss > 0 && loss < 10, line.toString());
      assertEquals(values.get("bpc").asDouble(), loss / Math.log(2), 1e-12);
      assertFalse(values.has("bpc PPL"), line.toString());
    }
    assertEquals(
        validation.get(0).get("values").get("lm loss PPL").asDouble(),
        Math.exp(validation.get(0).get("values").get("lm loss").asDouble()),
        1e-9);
    // A token is a symbol: 4 columns of 6.
    assertEquals(train.get(11).get("tokens").asLong(), 12 * 24L);
    assertEquals(train.get(11).get("consumed_samples").asLong(), 48);
    JsonNode config = lines(work, "config").get(0);
    assertEquals(config.get("arguments").get("mem_len").asInt(), 9);
    assertEquals(config.get("arguments").get("n_layer").asInt(), 2);
    assertTrue(config.get("total_parameters").asLong() > config.get("active_parameters").asLong());
    assertEquals(lines(work, "expert_load").size(), 12);
    assertEquals(lines(work, "end").get(0).get("reason").asText(), "complete");
  }

  /** A whole set is what an evaluation goes through, or the segments that are asked for. */
  @Test
  public void evaluationsHaveTheirLength() throws IOException {
    double[] losses = new double[3];
    String[] most = {"-1", "1", "1000"};
    for (int i = 0; i < 3; i++) {
      SmallRun small =
          SmallRun.of(SmallRun.parse(flags + " --max-step 2 --max-eval-steps " + most[i]));
      losses[i] = small.validation.get(2);
    }
    assertEquals(losses[2], losses[0]);
    assertTrue(Math.abs(losses[1] - losses[0]) > 1e-6, losses[1] + " " + losses[0]);
  }

  /** A summary of the steps alone: nothing is evaluated, nothing kept. */
  @Test
  public void aBenchTimesSteps() throws IOException {
    Path work = folder.path("bench");
    Console console =
        Console.command(
                "bench txl " + flags + " --warmup-steps 4 --log-interval 2", "--work-dir", work)
            .ok();
    List<String> summary =
        console.out().lines().filter(line -> line.startsWith("step time: ")).toList();
    assertEquals(summary.size(), 1, console.out());
    assertTrue(
        summary
            .get(0)
            .matches(
                "step time: median \\d+\\.\\d ms, \\d+\\.\\d to \\d+\\.\\d over 4 figures \\|"
                    + " \\d+ tokens/s"),
        summary.get(0));
    assertFalse(console.out().contains("| Eval"), console.out());
    assertFalse(console.out().contains("| End of training"), console.out());
    assertTrue(Files.notExists(work), "a bench keeps nothing");
    assertEquals(
        Console.command("bench txl " + flags + " --warmup-steps 12").refusal(2),
        "moe4j bench txl: --max-step 12 leaves no whole --log-interval 1 after --warmup-steps"
            + " 12");
  }
}
