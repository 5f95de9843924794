package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Every sequence of a part counts, however many are computed at a time. */
public class EvaluateTest {
  private static final Pattern SAID =
      Pattern.compile(" (\\d+) sequences of \\d+ tokens \\| lm loss value: (\\S+) ");

  private final Random random = Seeds.random(EvaluateTest.class);
  private Workspace workspace;
  private Path run;

  @BeforeClass
  public void train() throws IOException {
    workspace = new Workspace();
    run = workspace.path("run");
    Cli.run(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --lr 1e-2 --train-iters 3 --tokenizer-type ByteTokenizer"
                + " --make-vocab-size-divisible-by 1 --num-experts 4 --moe-ffn-hidden-size 16"
                + " --split 80,20,0 --eval-iters 0 --num-threads 1 --data-path",
            workspace.corpus("corpus", random, 40),
            "--save",
            run)
        .ok();
  }

  @AfterClass
  public void delete() throws IOException {
    workspace.close();
  }

  private record Evaluated(long sequences, double loss, String out) {}

  private Evaluated evaluate(String flags) {
    String out = Cli.run("evaluate " + flags + " --load", run).ok().out();
    Matcher matcher = SAID.matcher(out);
    assertTrue(matcher.find(), out);
    return new Evaluated(
        Long.parseLong(matcher.group(1)), Double.parseDouble(matcher.group(2)), out);
  }

  @Test
  public void theBatchIsNoMatter() {
    Evaluated one = evaluate("--micro-batch-size 1");
    assertTrue(one.sequences > 20, one.out);
    // One that leaves a rest, whatever the part's size.
    for (long rows : new long[] {one.sequences - 1, one.sequences / 2 + 1, 5000}) {
      Evaluated other = evaluate("--micro-batch-size " + rows);
      assertEquals(other.sequences, one.sequences);
      assertEquals(other.loss, one.loss, 1e-5, rows + " at a time");
    }
    Evaluated ten = evaluate("--samples 10");
    assertEquals(ten.sequences, 10);
    assertEquals(evaluate("--samples 10 --micro-batch-size 3").loss, ten.loss, 1e-5);
  }

  /** None counts twice, and it is said. */
  @Test
  public void moreThanThereAreAreAll() {
    Evaluated all = evaluate("--part valid");
    Evaluated more = evaluate("--samples 100000");
    assertEquals(more.sequences, all.sequences);
    assertEquals(more.loss, all.loss, 1e-5);
    String said =
        "--samples 100000: the valid part has %d sequences of 16 tokens; all of them are evaluated"
            .formatted(all.sequences);
    assertTrue(more.out.contains(said), more.out);
  }
}
