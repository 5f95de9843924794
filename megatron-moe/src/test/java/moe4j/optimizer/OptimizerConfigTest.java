package moe4j.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import moe4j.config.Flags;
import moe4j.config.Refusals;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class OptimizerConfigTest {
  private static OptimizerConfig parse(String line) {
    return Flags.parse(OptimizerConfig.class, Refusals.words(line));
  }

  @Test
  public void defaultsAreMegatrons() {
    assertEquals(
        parse("--lr 1e-3"),
        new OptimizerConfig(
            "adam",
            1e-3,
            0,
            "linear",
            null,
            null,
            0,
            0,
            null,
            0,
            "exponential",
            null,
            null,
            0.01,
            0.9,
            0.999,
            1e-8,
            1.0,
            false,
            "fp32",
            "fp32",
            "fp32",
            "fp32",
            null));
  }

  @DataProvider
  public Object[][] impossible() {
    return new Object[][] {
      {"--min-lr 0", "--lr is required"},
      {"--lr -1", "--lr -1.0 and --min-lr 0.0: 0 <= min-lr <= lr is asked for"},
      {"--lr 1 --min-lr 2", "--lr 1.0 and --min-lr 2.0: 0 <= min-lr <= lr is asked for"},
      {"--lr 1 --lr-warmup-init 2", "--lr-warmup-init 2.0 is not between 0 and --lr 1.0"},
      {"--lr 1 --adam-beta1 1", "--adam-beta1 1.0 is not in [0, 1)"},
      {"--lr 1 --adam-beta2 -0.1", "--adam-beta2 -0.1 is not in [0, 1)"},
      {
        "--lr 1 --adam-eps 0",
        "--adam-eps 0.0, --weight-decay 0.01, --clip-grad 1.0: none may be negative, and epsilon"
            + " not 0"
      },
      {
        "--lr 1 --clip-grad -1",
        "--adam-eps 1.0E-8, --weight-decay 0.01, --clip-grad -1.0: none may be negative, and"
            + " epsilon not 0"
      },
      {"--lr 1 --lr-warmup-fraction 1", "--lr-warmup-fraction 1.0 is not in [0, 1)"},
      {
        "--lr 1 --lr-warmup-fraction 0.1 --lr-warmup-iters 5",
        "--lr-warmup-fraction and --lr-warmup-iters or --lr-warmup-samples exclude each other"
      },
      {
        "--lr 1 --lr-warmup-iters -5",
        "--lr-warmup-iters and --lr-warmup-samples: none may be negative"
      },
      {
        "--lr 1 --lr-decay-style WSD",
        "--lr-decay-style WSD needs --lr-wsd-decay-iters or --lr-wsd-decay-samples"
      },
      {"--lr 1 --lr-wsd-decay-iters 5", "--lr-wsd-decay-iters needs --lr-decay-style WSD"},
      {
        "--lr 1 --lr-decay-style cosine --lr-wsd-decay-samples 5",
        "--lr-wsd-decay-samples needs --lr-decay-style WSD"
      },
      {"--lr 1 --lr-wsd-decay-style linear", "--lr-wsd-decay-style needs --lr-decay-style WSD"},
      {"--lr 1 --lr-decay-iters 0", "--lr-decay-iters 0 is not positive"},
      {"--lr 1 --lr-decay-samples -1", "--lr-decay-samples -1 is not positive"},
      {"--lr 1 --lr-wsd-decay-iters -1", "--lr-wsd-decay-iters -1 is not positive"},
      {"--lr 1 --lr-wsd-decay-samples 0", "--lr-wsd-decay-samples 0 is not positive"},
      {
        "--lr 1 --lr-decay-style wsd",
        "--lr-decay-style takes constant, linear, cosine, inverse-square-root, WSD, not 'wsd'"
      },
      {
        "--lr 1 --optimizer sgd",
        "--optimizer takes adam, not 'sgd': plain gradient descent is not built, as transformers"
            + " are trained with AdamW; use adam"
      },
    };
  }

  @Test(dataProvider = "impossible")
  public void whatCannotBeIsRefused(String flags, String sentence) {
    assertEquals(Refusals.of(OptimizerConfig.class, flags), sentence);
  }

  @DataProvider
  public Object[][] units() {
    return new Object[][] {
      {"--lr-decay-iters 9", true},
      {"--lr-warmup-iters 9", true},
      {"--lr-decay-style WSD --lr-wsd-decay-iters 9", true},
      {"--lr-decay-samples 9", false},
      {"--lr-warmup-samples 9", false},
      {"--lr-decay-style WSD --lr-wsd-decay-samples 9", false},
    };
  }

  @Test(dataProvider = "units")
  public void aScheduleCountsInTheRunsUnit(String flags, boolean iterations) {
    OptimizerConfig config = parse("--lr 1 " + flags);
    Integer steps = 100;
    Long samples = 400L;
    // In its own unit the schedule is made; in the other it names both flags.
    new LearningRate(config, 4, iterations ? steps : null, iterations ? null : samples).at(0);
    String sentence =
        expectThrows(
                IllegalArgumentException.class,
                () ->
                    new LearningRate(
                        config, 4, iterations ? null : steps, iterations ? samples : null))
            .getMessage();
    String flag = flags.replaceFirst(".*(--\\S+) 9", "$1");
    assertEquals(
        sentence,
        iterations
            ? "--train-samples counts in samples and "
                + flag
                + " in iterations: one unit is asked for"
            : "--train-iters counts in iterations and "
                + flag
                + " in samples: one unit is asked for");
  }
}
