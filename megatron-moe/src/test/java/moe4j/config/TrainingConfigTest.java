package moe4j.config;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;

import moe4j.model.TrainState;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class TrainingConfigTest {
  private static final String SMALL = "--micro-batch-size 2 --train-iters 10 ";

  private static TrainingConfig parse(String line) {
    return Flags.parse(TrainingConfig.class, Refusals.words(line));
  }

  @Test
  public void defaultsAreMegatrons() {
    TrainingConfig config = parse(SMALL);
    assertEquals((int) config.globalBatchSize(), 2);
    assertEquals(config.microBatches(), 1);
    assertEquals(config.seed(), 1234);
    assertEquals(config.evalIters(), 100);
    assertFalse(config.bf16());
    assertFalse(config.noCheckForNanInLossAndGrad());
  }

  @Test
  public void stepsAreCountedInEitherUnit() {
    assertEquals(parse(SMALL + "--global-batch-size 6").microBatches(), 3);
    assertEquals(parse(SMALL).steps(), 10);
    // What does not fill a batch is not trained on.
    assertEquals(
        parse("--micro-batch-size 2 --global-batch-size 4 --train-samples 43").steps(), 10);
    assertEquals(parse("--micro-batch-size 2 --train-iters 0").steps(), 0);
  }

  /** Megatron's order of the data depends on how many samples they are asked for. */
  @Test
  public void theDataAreAskedForWhatTheFlagSays() {
    String batches = "--micro-batch-size 2 --global-batch-size 4 ";
    assertEquals(parse(batches + "--train-samples 43").samples(), 43);
    assertEquals(parse(batches + "--train-iters 10").samples(), 40);
    assertEquals(parse(batches + "--train-iters 2147483647").samples(), 8589934588L);
  }

  @Test
  public void validationDrawsForEveryEvaluation() {
    assertEquals(parse(SMALL + "--eval-iters 5").validationBatches(), 5);
    assertEquals(parse(SMALL + "--eval-iters 5 --eval-interval 4").validationBatches(), 15);
    assertEquals(parse(SMALL + "--eval-iters 0 --eval-interval 4").validationBatches(), 0);
  }

  /** At each step that the interval divides, the last one too, and once more at the end. */
  @Test
  public void evaluationsToCome() {
    TrainingConfig divided = parse("--micro-batch-size 1 --train-iters 12 --eval-interval 4");
    TrainingConfig other = parse("--micro-batch-size 1 --train-iters 11 --eval-interval 4");
    for (TrainingConfig config : new TrainingConfig[] {divided, other}) {
      for (int from = 0; from <= config.steps(); from++) {
        int evaluations = 1;
        for (int step = from + 1; step <= config.steps(); step++) {
          evaluations += step % 4 == 0 ? 1 : 0;
        }
        assertEquals(
            new TrainState(from, 0, 0, 0).evaluationsLeft(config),
            evaluations,
            "after step " + from);
      }
      assertEquals(
          config.validationBatches(),
          new TrainState(0, 0, 0, 0).evaluationsLeft(config) * config.evalIters(),
          "in all");
    }
    assertEquals(new TrainState(3, 0, 0, 0).evaluationsLeft(parse(SMALL)), 1);
  }

  @DataProvider
  public Object[][] impossible() {
    return new Object[][] {
      {"--train-iters 10", "--micro-batch-size is required"},
      {"--micro-batch-size 2", "--train-iters or --train-samples is required"},
      {SMALL + "--train-samples 9", "--train-iters and --train-samples exclude each other"},
      {"--micro-batch-size 0 --train-iters 1", "--micro-batch-size 0 is not positive"},
      {
        SMALL + "--device cuda --deterministic-mode --attention-backend fused",
        "--attention-backend fused and --deterministic-mode exclude each other: cuDNN's attention"
            + " adds in no fixed order"
      },
      {
        SMALL + "--global-batch-size 3",
        "--global-batch-size 3 is no multiple of --micro-batch-size 2"
      },
      {
        SMALL + "--global-batch-size 0",
        "--global-batch-size 0 is no multiple of --micro-batch-size 2"
      },
      {
        "--micro-batch-size 2 --train-iters -1",
        "--train-iters and --train-samples: none may be negative"
      },
      {
        "--micro-batch-size 2 --train-samples -1",
        "--train-iters and --train-samples: none may be negative"
      },
      {
        "--micro-batch-size 1 --global-batch-size 2 --train-samples 1",
        "--train-samples 1 do not fill a --global-batch-size of 2: there is no step to take"
      },
      {
        "--micro-batch-size 2 --train-samples 99999999999999",
        "--train-samples 99999999999999 are 49999999999999 steps with --global-batch-size 2, and a"
            + " run has at most 2147483647"
      },
      {SMALL + "--eval-iters -1", "--eval-iters -1 is negative"},
      {SMALL + "--eval-interval 0", "--eval-interval 0 is not positive"},
      {SMALL + "--exit-interval 0", "--exit-interval 0 is not positive"},
      {SMALL + "--exit-duration-in-mins -1", "--exit-duration-in-mins -1 is not positive"},
      {SMALL + "--num-threads 0", "--num-threads 0 is not positive"},
      {SMALL + "--device tpu", "--device takes cpu, cuda, not 'tpu'"},
    };
  }

  @Test(dataProvider = "impossible")
  public void whatCannotBeIsRefused(String flags, String sentence) {
    assertEquals(Refusals.of(TrainingConfig.class, flags), sentence);
  }
}
