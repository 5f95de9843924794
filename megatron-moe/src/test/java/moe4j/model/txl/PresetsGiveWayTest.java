package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import moe4j.config.Flags;
import moe4j.training.StepBench;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What a preset sets and nobody has typed is no reason to refuse what is. */
public class PresetsGiveWayTest {

  private static TransformerXlRun run(String line, List<String> said) {
    String[] all = Presets.expand((line + " --data there").split(" "), said::add);
    Flags flags = new TransformerXlFamily().flags();
    return TransformerXlRun.of(flags.parse(all).withoutPositional(), 1);
  }

  /** Every preset with few steps, and with short lengths. */
  @Test
  public void everyPresetTakesAShortRun() {
    for (String name : Presets.names()) {
      int usual = run("--preset " + name, new ArrayList<>()).training().warmupStep();
      for (int steps : new int[] {1, 2, 3, 4, 5, 10, 39, 40, 41, 50, 100, 2000}) {
        for (String flag : List.of("--max-step " + steps, "--max-step=" + steps)) {
          List<String> said = new ArrayList<>();
          TransformerXlRun run = run(flag + " --preset " + name, said);
          int warmup = run.training().warmupStep();
          assertEquals(run.training().maxStep(), steps);
          assertEquals(warmup, usual < steps ? usual : (steps - 1) / 2, name + " " + flag);
          assertEquals(
              said.stream().anyMatch(s -> s.contains("--warmup-step is " + warmup)),
              warmup != usual,
              said.toString());
        }
      }
      for (String lengths :
          List.of("--tgt-len 1", "--tgt-len 8 --mem-len 8", "--mem-len 1", "--mem-len 0")) {
        run("--preset " + name + " " + lengths, new ArrayList<>());
      }
    }
  }

  @Test
  public void aBenchOfFewStepsHasFigures() {
    String[] line =
        Presets.expand("--preset cpu --data there --max-step 30".split(" "), sentence -> {});
    Flags flags = new TransformerXlFamily().flags(List.of(StepBench.Options.class));
    TransformerXlRun run = TransformerXlRun.of(flags.parse(line).withoutPositional(), 1);
    assertTrue(run.config().logging().logInterval() < 15, "two whole intervals and more");
  }

  @DataProvider
  public Object[][] lines() {
    String cpu = "--preset cpu-moe16: ";
    String gpu = "--preset enwik8-base-moe64: ";
    return new Object[][] {
      {"--max-step 4 --warmup-step 2 --log-interval 1 --preset cpu", ""},
      {
        "--max-step 4 --log-interval 1 --preset cpu",
        "--preset cpu: --warmup-step is 1 in place of 40, because of --max-step 4"
      },
      {
        "--preset cpu --tgt-len 16 --mem-len 16",
        "--preset cpu: --eval-tgt-len is 16 in place of 64, because of --tgt-len 16"
      },
      {
        "--preset cpu-moe16 --balance-strategy noisy",
        cpu + "--moe-aux-loss-coeff 0.02 is left out, because of --balance-strategy noisy"
      },
      {
        "--preset cpu-moe16 --balance-strategy switch",
        cpu
            + "--moe-aux-loss-coeff 0.02 is left out, because of --balance-strategy switch\n"
            + cpu
            + "--top-k is 1 in place of 2, because of --balance-strategy switch"
      },
      {
        "--preset cpu-moe16 --moe-router-topk 3",
        cpu + "--top-k 2 is left out, because of --moe-router-topk 3"
      },
      {
        "--preset cpu-moe16 --moe-router-load-balancing-type none",
        cpu
            + "--moe-aux-loss-coeff 0.02 is left out, because of --moe-router-load-balancing-type"
            + " none"
      },
      {
        "--preset cpu-moe16 --hidden-hidden-size 100",
        cpu + "--moe-ffn-hidden-size 256 is left out, because of --hidden-hidden-size 100"
      },
      {
        "--preset enwik8-base-moe64 --moe-aux-loss-coeff 0.01",
        gpu + "--balance-strategy naive is left out, because of --moe-aux-loss-coeff 0.01"
      },
      {"--preset enwik8-base-moe64 --top-k 4 --balance-strategy noisy", ""},
    };
  }

  @Test(dataProvider = "lines")
  public void itIsSaidWhatGivesWay(String line, String sentences) {
    List<String> said = new ArrayList<>();
    run(line, said);
    assertEquals(String.join("\n", said), sentences);
  }

  /** What is typed is the user's: a contradiction in it stays one. */
  @Test
  public void whatIsTypedDoesNotGiveWay() {
    String line = "pretrain-txl --preset cpu --data there --max-step 4 --warmup-step 9";
    assertEquals(
        Console.command(line).refusal(2),
        "moe4j pretrain-txl: --warmup-step 9 is not between 0 and --max-step 4");
  }
}
