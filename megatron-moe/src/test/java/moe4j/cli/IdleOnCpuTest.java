package moe4j.cli;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import moe4j.config.Flags;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Flags that say how a GPU computes are taken on a CPU, and told in one way to do nothing. */
public class IdleOnCpuTest {
  private static final String GPT =
      "pretrain-gpt --num-layers 2 --seq-length 8 --mock-data --hidden-size 16"
          + " --num-attention-heads 4 --lr 1 --train-iters 5 --micro-batch-size 1 --num-experts 2"
          + " --moe-shared-expert-intermediate-size 8 --moe-grouped-products libtorch"
          + " --moe-shared-expert-overlap --attention-backend flash --cuda-graph off"
          + " --deterministic-mode --no-fused-kernels";

  private static final String TXL =
      "pretrain-txl --data x --cuda-graph off --deterministic-mode --no-fused-kernels"
          + " --num-experts 2 --moe-grouped-products libtorch";

  private static final String BENCH =
      "bench moe --num-experts 2 --cuda-graph off --no-fused-kernels --moe-grouped-products"
          + " libtorch";

  @DataProvider
  public Object[][] lines() {
    String products = "--moe-grouped-products libtorch";
    String graph = "--cuda-graph off";
    String mode = "--deterministic-mode";
    String plain = "--no-fused-kernels";
    return new Object[][] {
      {
        GPT,
        List.of(
            "--moe-shared-expert-overlap",
            products,
            graph,
            "--attention-backend flash",
            mode,
            plain)
      },
      {TXL, List.of(products, graph, mode, plain)},
      {BENCH, List.of(graph, plain, products)},
      {GPT + " --device cuda", List.of()},
      {TXL + " --device cuda", List.of()},
      {BENCH + " --device cuda", List.of()},
    };
  }

  @Test(dataProvider = "lines")
  public void areTakenWithoutEffect(String line, List<String> idle) throws IOException {
    assertEquals(parse(line.split(" ")).withoutEffect(), idle);
  }

  private static Flags.Parsed parse(String... words) throws IOException {
    List<Command> commands = Main.commands();
    int named = CommandLines.words(commands, words);
    String[] rest = Arrays.copyOfRange(words, named, words.length);
    Command command = CommandLines.named(commands, words, named).of(rest);
    return CommandLines.parse(command, rest, 1);
  }
}
