package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.testng.SkipException;
import org.testng.annotations.Test;

/** The program itself, behind a pipe and on a terminal. */
public class TerminalProcessTest {
  private static final String RUN =
      "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
          + " --micro-batch-size 2 --lr 1e-2 --mock-data --vocab-size 60"
          + " --tokenizer-type NullTokenizer --train-iters 30 --log-interval 10 --eval-iters 1"
          + " --num-threads 1 --save";

  private static int run(List<String> line, Path output) throws IOException, InterruptedException {
    ProcessBuilder builder =
        new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(output.toFile());
    Map<String, String> environment = builder.environment();
    environment.keySet().removeAll(List.of("CI", "NO_COLOR"));
    environment.put("TERM", "xterm");
    Process process = builder.start();
    process.getOutputStream().close();
    return process.waitFor();
  }

  private static long megatrons(String text) {
    return text.lines().filter(l -> l.contains("] iteration ") && l.contains("lm loss: ")).count();
  }

  @Test(groups = "slow")
  public void behindAPipeNothingMoves() throws Exception {
    try (Workspace workspace = new Workspace()) {
      Path output = workspace.path("output");
      int status = run(Cli.line(Cli.arguments(RUN, workspace.path("run"))), output);
      String text = Files.readString(output);
      assertEquals(status, 0, text);
      assertFalse(text.chars().anyMatch(c -> c < ' ' && c != '\n'), text);
      assertEquals(megatrons(text), 4, text);
      assertEquals(megatrons(Files.readString(workspace.path("run").resolve("log.txt"))), 4);
    }
  }

  @Test(groups = "slow")
  public void onATerminalALineMoves() throws Exception {
    try (Workspace workspace = new Workspace()) {
      Path output = workspace.path("output");
      String java =
          Cli.line(Cli.arguments(RUN, workspace.path("run"))).stream()
              .map(word -> "'" + word + "'")
              .collect(Collectors.joining(" "));
      List<String> script = List.of("script", "-qec", "stty cols 60; exec " + java, "/dev/null");
      int status;
      try {
        status = run(script, output);
      } catch (IOException e) {
        throw new SkipException("there is no script(1) of util-linux: " + e.getMessage());
      }
      String text = Files.readString(output);
      if (text.contains("script: ") && text.contains("option")) {
        throw new SkipException("this script(1) is not util-linux's: " + text);
      }
      assertEquals(status, 0, text);
      List<String> lines = ScreenTest.screen(text);
      assertEquals(megatrons(text), 0, text);
      assertTrue(lines.stream().anyMatch(l -> l.startsWith("step 30/30 | loss ")), text);
      assertTrue(text.contains("\r30/30 ") || text.contains("\rstep 30/30 "), text);
      assertEquals(
          lines.stream().filter(l -> l.startsWith("step ") && l.length() >= 60).toList(),
          List.of());
      assertEquals(megatrons(Files.readString(workspace.path("run").resolve("log.txt"))), 4);
    }
  }
}
