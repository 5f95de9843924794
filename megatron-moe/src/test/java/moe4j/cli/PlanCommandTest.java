package moe4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.model.txl.SmallRun;
import moe4j.model.txl.TransformerXlRun;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class PlanCommandTest {
  private static final String GPT2 =
      "--num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 --bf16"
          + " --vocab-size 50257";
  private static final String EXPERTS = GPT2 + " --num-experts 96 --fmoefy";

  /** What the command prints for some flags, line by line. */
  private static List<String> plan(String flags) throws Exception {
    String[] words = flags.split(" ");
    Command command = new PlanCommand().of(words);
    var parsed = command.flags().parse(command.expand(words));
    command.check(parsed, 1);
    PrintStream out = System.out;
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    System.setOut(new PrintStream(bytes, true, StandardCharsets.UTF_8));
    try {
      assertEquals(command.run(parsed), 0);
    } finally {
      System.setOut(out);
    }
    return bytes.toString(StandardCharsets.UTF_8).lines().toList();
  }

  private static List<String> cells(String line) {
    return List.of(line.strip().split(" +"));
  }

  @Test
  public void table() throws Exception {
    List<String> lines = plan(EXPERTS + " --world-size 16 --global-batch-size 512 --top 3");
    List<String> head = cells(lines.get(0));
    assertEquals(lines.size(), 1 + 3 + 1 + 2);
    double before = 0;
    for (int i = 1; i <= 3; i++) {
      List<String> row = cells(lines.get(i));
      assertEquals(row.get(0), "" + i);
      // Bytes and milliseconds are printed with their parts, which round.
      assertEquals(
          number(head, row, "GiB"),
          sum(head, row, "params", "grads", "optim", "activ", "other"),
          0.3);
      double step = number(head, row, "ms/step");
      assertEquals(step, sum(head, row, "compute", "tp-comm", "ep-comm", "dp-comm", "update"), 0.3);
      assertEquals(number(head, row, "tokens/s"), 512 * 1024e3 / step, 2e-3 * 512 * 1024e3 / step);
      assertTrue(step >= before);
      before = step;
      assertEquals(
          number(head, row, "EP") * number(head, row, "ETP") * number(head, row, "EDP"), 16.0);
    }
    assertTrue(
        lines
            .get(4)
            .matches(
                "\\d+ more layouts fit; \\d+ do not fit into 132\\.8 GiB; \\d+ cannot be, \\d+ of them for this reason: --.*"),
        lines.get(4));
    assertTrue(lines.get(6).contains(" --num-experts 96 --fmoefy "), lines.get(6));
  }

  private static double number(List<String> head, List<String> row, String column) {
    return Double.parseDouble(row.get(head.indexOf(column)));
  }

  private static double sum(List<String> head, List<String> row, String... columns) {
    double sum = 0;
    for (String column : columns) {
      sum += number(head, row, column);
    }
    return sum;
  }

  /** On one GPU what is printed can be typed. */
  @Test
  public void flagsToType() throws Exception {
    List<String> lines = plan(EXPERTS + " --world-size 1 --global-batch-size 64");
    List<String> line = new ArrayList<>(List.of(lines.get(lines.size() - 1).split(" ")));
    assertFalse(String.join(" ", line).contains("parallel"), line.toString());
    line.addAll(List.of("--train-iters", "10", "--lr", "1e-3", "--mock-data"));
    RunConfig run = GptFamily.parse(line.toArray(String[]::new));
    assertEquals(run.moe().expertHiddenSize(run.model().layerShape()), 1536);
    assertEquals(run.training().globalBatchSize(), Integer.valueOf(64));
    assertTrue(run.training().bf16());
    List<String> first = cells(lines.get(1));
    assertEquals("" + run.training().microBatchSize(), first.get(8), lines.get(1));
  }

  private static final String AWARE =
      " --world-size 1 --global-batch-size 8 --use-precision-aware-optimizer ";

  private static final String TXL =
      "--model txl --n-layer 12 --d-model 512 --n-head 8 --d-head 64 --d-inner 2048 --tgt-len 512"
          + " --mem-len 512 --vocab-size 204 --bf16";

  /**
   * What its columns remember is a rank's, so it has one micro-batch a step, and whole matrices.
   */
  @Test
  public void transformerXl() throws Exception {
    List<String> lines =
        plan(
            TXL
                + " --num-experts 8 --fmoefy --world-size 4 --global-batch-size 88"
                + " --use-precision-aware-optimizer --exp-avg-dtype fp8");
    List<String> head = cells(lines.get(0));
    // EP of 1, 2 and 4, the optimizer's parts apart or not.
    for (int i = 1; i <= 6; i++) {
      List<String> row = cells(lines.get(i));
      assertEquals(number(head, row, "mbs"), 22.0);
      assertEquals(number(head, row, "TP"), 1.0);
    }
    assertTrue(
        lines
            .get(7)
            .endsWith(
                "--tensor-model-parallel-size 2: a Transformer-XL's matrices are whole on every"
                    + " process"),
        lines.get(7));
    String line = lines.get(lines.size() - 1);
    assertTrue(line.contains(" --batch-size 88"), line);
    String[] words = (line + " --data corpora/enwik8 --eval-batch-size 8").split(" ");
    TransformerXlRun run = SmallRun.line(4, words);
    assertEquals(run.config().training().microBatchSize(), 22);
    assertEquals(run.config().moe().numExperts(), Integer.valueOf(8));
    assertEquals(run.config().optimizer().expAvgDtype(), "fp8");
  }

  /** A preset says the model and the batch; what it says of data and training is left out. */
  @Test
  public void aPreset() throws Exception {
    String spelt =
        TXL
            + " --dropout 0.1"
            + " --num-experts 64 --top-k 2 --moe-ffn-hidden-size 1024 --balance-strategy naive"
            + " --add-expert-bias --world-size 2 --global-batch-size ";
    String preset = "--model txl --preset enwik8-base-moe64 --vocab-size 204 --world-size 2";
    assertEquals(plan(preset), plan(spelt + 22));
    // What is typed wins.
    assertEquals(plan(preset + " --global-batch-size 44"), plan(spelt + 44));
  }

  @DataProvider
  public Object[][] refused() {
    return new Object[][] {
      {
        EXPERTS + " --world-size 1 --global-batch-size 4 --gpu-memory-gib 10",
        "none of 3 possible layouts fits: the smallest \\(TP 1, EP 1, ETP 1, micro-batch \\d\\) needs"
            + " \\d+\\.\\d GiB, \\d+\\.\\d more than the 9\\.5 of a GPU that may be filled"
      },
      {
        GPT2 + " --world-size 8 --global-batch-size 12 --tensor-model-parallel-size 1",
        "no layout is possible of the 14 tried, 14 for this reason: --global-batch-size 12 is no"
            + " multiple of --micro-batch-size 1 times 8 data parallel ranks"
      },
      {GPT2 + " --world-size 8 --global-batch-size 8 --top 0", "--top 0 is not positive"},
      {GPT2 + " --world-size 8", "--global-batch-size is required"},
      {
        TXL + " --world-size 2 --global-batch-size 22 --micro-batch-size 1 --top 1",
        "no layout is possible of the 3 tried, 2 for this reason: --micro-batch-size 1: what this"
            + " model carries from a step to the next is of all sequences of a rank at once, and"
            + " those are 11"
      },
      // What a run would refuse of the optimizer's types.
      {
        TXL.replace(" --bf16", "") + AWARE + "--main-grads-dtype bf16",
        "--main-grads-dtype bf16 is for a model in bf16: give --bf16 too, or leave it out"
      },
      {
        TXL.replace(" --bf16", "") + AWARE + "--master-storage whole",
        "--master-storage whole is for a model in bf16, .*"
      },
      {TXL + AWARE + "--main-params-dtype fp16", "--main-params-dtype fp16 is not taken: .*"},
      {TXL + AWARE + "--exp-avg-sq-dtype fp16", "--exp-avg-sq-dtype fp16 is not taken: .*"},
      // Numbers whose products no int holds.
      {
        GPT2 + " --world-size 4 --global-batch-size 8 --micro-batch-size 1073741824",
        "no layout is possible of the 5 tried, \\d for this reason: --global-batch-size 8 is no"
            + " multiple of --micro-batch-size 1073741824 times \\d data parallel ranks"
      },
      {
        GPT2 + " --world-size 4 --global-batch-size 8 --vocab-size 2147483647",
        "a vocabulary of 2147483647, padded to a multiple of --make-vocab-size-divisible-by 128,"
            + " would have 2147483648 tokens, and at most 2147483647 are possible"
      },
      {
        GPT2 + " --world-size 4 --global-batch-size 8 --hidden-size 1073741832",
        "(?s)--hidden-size 1073741832: the usual --ffn-hidden-size would be 4294967328, and at most"
            + " 2147483647 is possible.*"
      },
      {TXL.replace("txl", "bertha"), "there is no kind of model 'bertha': there are .*gpt.*"},
    };
  }

  @Test(dataProvider = "refused")
  public void refuses(String flags, String sentence) {
    String said = expectThrows(IllegalArgumentException.class, () -> plan(flags)).getMessage();
    assertTrue(said.matches(sentence), said);
  }
}
