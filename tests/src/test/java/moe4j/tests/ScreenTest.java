package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import moe4j.console.Screen;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A run on a terminal: its line of progress, its log lines, its log.txt. */
public class ScreenTest {
  private static final String RUN =
      "--num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
          + " --micro-batch-size 2 --lr 1e-2 --mock-data --vocab-size 60"
          + " --tokenizer-type NullTokenizer --train-iters 12 --log-interval 4 --eval-iters 1"
          + " --eval-interval 6 --num-threads 1 --save";
  private static final Pattern MEGATRON =
      Pattern.compile(" \\[20.*\\] iteration +(\\d+)/ +12 \\| consumed samples: .*");

  private Workspace workspace;

  @BeforeMethod
  public void open() {
    workspace = new Workspace();
  }

  @AfterMethod(alwaysRun = true)
  public void close() throws IOException {
    workspace.close();
  }

  /** What stands on a terminal's screen after all of a text was printed. */
  static List<String> screen(String printed) {
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
      } else if (printed.startsWith("\033[K", i)) {
        line.setLength(Math.min(column, line.length()));
        i += 2;
      } else {
        line.setLength(Math.max(line.length(), column));
        line.replace(column, ++column, String.valueOf(c));
      }
    }
    return lines.stream().map(line -> line.toString().stripTrailing()).toList();
  }

  private static String train(Path run, int columns) {
    return Cli.quietly(
            () -> {
              RunConfig config = GptFamily.parse(Cli.arguments(RUN, run).toArray(new String[0]));
              Screen screen = new Screen(columns > 0 ? System.out : null, () -> columns);
              try (Screen.PutUp up = screen.putUp()) {
                return Pretraining.run(
                    config,
                    new SmallGpt(config, UnaryOperator.identity()),
                    ShutdownSignal.none(),
                    null);
              }
            })
        .out();
  }

  private static List<String> megatrons(List<String> lines) {
    return lines.stream().filter(line -> MEGATRON.matcher(line).matches()).toList();
  }

  @DataProvider
  public Object[][] widths() {
    return new Object[][] {{80}, {40}};
  }

  @Test(dataProvider = "widths")
  public void aTerminalHasShortLinesAndTheFileAllOfThem(int columns) throws IOException {
    Path run = workspace.path("run");
    String out = train(run, columns);
    List<String> lines = screen(out);
    assertEquals(megatrons(lines), List.of(), out);
    for (String start :
        List.of(
            "step 4/12 | loss ",
            "step 12/12 | loss ",
            "step 6/12 | validation loss ",
            "  --hidden-size 16",
            "  --train-iters 12")) {
      assertTrue(lines.stream().anyMatch(line -> line.startsWith(start)), start + " in " + out);
    }
    assertFalse(lines.stream().anyMatch(line -> line.contains("weight_decay")), out);
    assertEquals(
        lines.stream()
            .filter(line -> line.startsWith("step ") && line.length() >= columns)
            .toList(),
        List.of(),
        out);
    // The line of progress stood there, was no wider than the terminal, and is gone.
    List<String> shown =
        Pattern.compile("\r([^\r\n\033]+)\033\\[K")
            .matcher(out)
            .results()
            .map(r -> r.group(1))
            .toList();
    assertTrue(shown.stream().anyMatch(line -> line.matches("(step )?12/12 .*loss \\d.*")), out);
    assertEquals(shown.stream().filter(line -> line.length() >= columns).toList(), List.of());
    assertEquals(lines.get(lines.size() - 1), "");
    // A log line is a line's whole: nothing of the line of progress is left in it.
    assertEquals(lines.stream().filter(line -> line.contains("12%")).toList(), List.of(), out);

    List<String> file = Files.readAllLines(run.resolve("log.txt"));
    assertEquals(megatrons(file).size(), 4, file.toString());
    assertTrue(
        file.stream().anyMatch(line -> line.matches("  weight_decay \\.+ 0\\.01")),
        file.toString());
    assertTrue(file.stream().anyMatch(line -> line.startsWith("  successfully saved")));
    assertFalse(file.stream().anyMatch(line -> line.startsWith("step ")), file.toString());
    assertFalse(String.join("", file).contains("\033"));
  }

  @Test
  public void aPipeAndTheFileHaveTheSameLines() throws IOException {
    Path run = workspace.path("run");
    String out = train(run, 0);
    assertFalse(out.contains("\033") || out.contains("\r"), out);
    List<String> lines = out.lines().toList();
    assertEquals(megatrons(lines).size(), 4, out);
    List<String> file = Files.readAllLines(run.resolve("log.txt"));
    assertEquals(file, lines.subList(lines.size() - file.size(), lines.size()));
    assertTrue(file.stream().anyMatch(line -> line.matches("  weight_decay \\.+ 0\\.01")), out);
  }

  /** The same run taken up, or any other into the same directory, writes behind what is there. */
  @Test
  public void theFileGoesOn() throws IOException {
    Path run = workspace.path("run");
    Files.createDirectories(run);
    Files.writeString(run.resolve("log.txt"), "before\n");
    train(run, 0);
    List<String> file = Files.readAllLines(run.resolve("log.txt"));
    assertEquals(file.get(0), "before");
    assertEquals(megatrons(file).size(), 4);
  }

  @Test
  public void aFileThatCannotBeWrittenIsSaidOnce() throws IOException {
    Path run = workspace.path("run");
    Files.createDirectories(run.resolve("log.txt"));
    String out = train(run, 0);
    assertEquals(
        out.lines()
            .filter(line -> line.contains("lines are missing there, and the run goes on"))
            .toList(),
        List.of(
            "WARNING: %s: Is a directory; lines are missing there, and the run goes on"
                .formatted(run.resolve("log.txt"))),
        out);
    assertEquals(megatrons(out.lines().toList()).size(), 4, out);
  }
}
