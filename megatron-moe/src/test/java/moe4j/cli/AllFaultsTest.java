package moe4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import moe4j.config.RefusedLine;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** One answer tells all that is wrong with a run's line, whichever record it is in. */
public class AllFaultsTest {
  private static final String RUN = "pretrain-gpt --num-layers 2 --seq-length 8 --mock-data ";

  @DataProvider
  public Object[][] lines() {
    return new Object[][] {
      {
        RUN
            + "--hidden-size 63 --num-attention-heads 4 --ffn-hidden-size -1 --num-experts 2"
            + " --moe-router-topk 3 --moe-ffn-hidden-size 0 --lr 1e-3 --clip-grad -2"
            + " --lr-warmup-iters -2 --train-iters 5 --micro-batch-size 0 word",
        List.of(
            "--hidden-size 63 is no multiple of --num-attention-heads 4 (give --kv-channels if that"
                + " is meant)",
            "--ffn-hidden-size -1 is not positive",
            "--moe-router-topk 3 is not between 1 and --num-experts 2",
            "--moe-ffn-hidden-size 0 is not positive",
            "--adam-eps 1.0E-8, --weight-decay 0.01, --clip-grad -2.0: none may be negative, and"
                + " epsilon not 0",
            "--lr-warmup-iters and --lr-warmup-samples: none may be negative",
            "--micro-batch-size 0 is not positive",
            "'word' is neither a flag nor a flag's value")
      },
      {
        // What follows from a refused size is not told once more.
        RUN
            + "--hidden-size -8 --num-attention-heads 0 --lr 1 --train-iters 5 --micro-batch-size 2"
            + " --lr-warmup-iters 10 --global-batch-size 6 --bf16",
        List.of(
            "--hidden-size -8 is not positive",
            "--num-attention-heads 0 is not positive",
            "--global-batch-size 6 is no multiple of --micro-batch-size 2 times the 2 data-parallel"
                + " processes: 6 = 1 x 4 + 2",
            "--lr-warmup-iters 10: the warm-up leaves nothing of the 5 iterations of the learning"
                + " rate's schedule (--train-iters)")
      },
      {
        RUN
            + "--hidden-size 15 --num-attention-heads 5 --lr 1 --train-iters 5 --micro-batch-size 1"
            + " --master-storage whole --tensor-model-parallel-size 2 --global-batch-size 1",
        List.of(
            "--master-storage whole is for a model in bf16, since fp32 parameters have no masters:"
                + " give --bf16 too, or leave it out",
            "--num-attention-heads 5 is no multiple of --tensor-model-parallel-size 2: 5 = 2 x 2 + 1")
      },
      {
        // A number below what it is to be a multiple of needs no arithmetic.
        RUN
            + "--hidden-size 4 --num-attention-heads 1 --lr 1 --train-iters 5 --micro-batch-size 4"
            + " --global-batch-size 4 --tensor-model-parallel-size 4",
        List.of(
            "--tensor-model-parallel-size 4 does not divide the 2 processes",
            "--num-attention-heads 1 is no multiple of --tensor-model-parallel-size 4")
      },
      {
        "pretrain-txl --data x --n-layer 0 --d-model 7 --dropout 2 --batch-size 0 --scheduler dev_perf",
        List.of(
            "--n-layer 0 is not positive",
            "--d-model 7: sines and cosines of positions take an even number",
            "--dropout 2.0 is not in [0, 1)",
            "--batch-size 0 is not positive",
            "--scheduler dev_perf: moe4j has cosine and constant")
      },
      {
        "pretrain-txl --data x --batch-size 3 --eval-batch-size 5 --tgt-len 4",
        List.of(
            "--batch-size 3 is no multiple of the 2 processes that share it",
            "--eval-batch-size 5 is no multiple of the 2 processes that share it")
      },
    };
  }

  @Test(dataProvider = "lines")
  public void oneAnswerTellsThemAll(String line, List<String> faults) throws IOException {
    assertEquals(refused(line.split(" ")), faults);
  }

  private static List<String> refused(String... words) throws IOException {
    List<Command> commands = Main.commands();
    int named = CommandLines.words(commands, words);
    String[] rest = Arrays.copyOfRange(words, named, words.length);
    Command command = CommandLines.named(commands, words, named).of(rest);
    return expectThrows(RefusedLine.class, () -> CommandLines.parse(command, rest, 2)).sentences();
  }
}
