package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.LongSupplier;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import moe4j.testing.Seeds;
import moe4j.training.Pretraining;
import moe4j.training.ProgressListener;
import moe4j.training.RunConfig;
import moe4j.training.ShutdownSignal;
import moe4j.training.record.ProgressLine;
import org.testng.annotations.Test;

/** A run's progress line and its log lines on one console. */
public class ProgressTest {
  private static final String PROGRESS = "small  step ";

  private final Random random = Seeds.random(ProgressTest.class);

  /** What stands on a terminal's screen after all of a text was printed. */
  private static List<String> screen(String printed) {
    List<StringBuilder> lines = new ArrayList<>(List.of(new StringBuilder()));
    int column = 0;
    for (int i = 0; i < printed.length(); i++) {
      char c = printed.charAt(i);
      StringBuilder line = lines.get(lines.size() - 1);
      if (c == '\n') {
        lines.add(new StringBuilder());
        column = 0;
      } else if (c == '\r') {
        column = 0;
      } else {
        line.setLength(Math.max(line.length(), column));
        line.replace(column, ++column, String.valueOf(c));
      }
    }
    return lines.stream().map(line -> line.toString().stripTrailing()).toList();
  }

  @Test
  public void neitherDisturbsTheOther() throws IOException {
    try (Workspace workspace = new Workspace()) {
      RunConfig config =
          RunConfig.parse(
              Cli.arguments(
                      "--num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                          + " --micro-batch-size 2 --lr 1e-2 --mock-data --vocab-size 60"
                          + " --tokenizer-type NullTokenizer --train-iters 12 --log-interval 1"
                          + " --eval-iters 1 --eval-interval 3 --save-interval 4 --exit-interval 11"
                          + " --num-threads 1 --save",
                      workspace.path("run"))
                  .toArray(new String[0]));
      long[] nanos = {0};
      LongSupplier clock = () -> nanos[0] += random.nextInt(200_000_000);
      String out =
          Cli.quietly(
                  () -> {
                    PrintStream console = System.out;
                    try (ProgressLine line = new ProgressLine("small", console, clock)) {
                      return Pretraining.run(
                          config,
                          new SmallGpt(config, UnaryOperator.identity()),
                          ShutdownSignal.install(),
                          new ProgressListener(config, line));
                    }
                  })
              .out();
      List<String> lines = screen(out);
      assertEquals(lines.stream().filter(line -> line.contains(PROGRESS)).toList(), List.of(), out);
      assertEquals(lines.stream().filter(line -> line.startsWith(" [20")).count(), 11, out);
      for (String said :
          List.of(
              " validation loss at iteration 3 | lm loss value: ",
              " validation loss at iteration 9 | lm loss value: ",
              "  successfully saved checkpoint from iteration 8 to ",
              "stopping at iteration 11: ")) {
        assertTrue(lines.stream().anyMatch(line -> line.startsWith(said)), said + " in " + out);
      }
      // Behind each of them the line is there again, and away before the next.
      Pattern shown = Pattern.compile("(?<=\n)\r" + PROGRESS + "[^\r\n]*left\r +\r");
      int events = 11 + 3 + 3 + 1;
      assertEquals(shown.matcher(out).results().count(), events, out);
      assertEquals(Pattern.compile(PROGRESS).matcher(out).results().count(), events, out);
    }
  }
}
