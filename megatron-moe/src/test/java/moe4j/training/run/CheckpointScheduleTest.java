package moe4j.training.run;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import moe4j.config.Refusals;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.optimizer.LearningRate;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * A run that takes the checkpoint's schedule has it to the bit, whatever unit its own flags use.
 */
public class CheckpointScheduleTest {
  private static final String MODEL =
      "--num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
          + " --micro-batch-size 2 --mock-data --use-checkpoint-opt-param-scheduler ";

  private static RunConfig run(String flags) {
    return GptFamily.parse(Refusals.words(MODEL + flags));
  }

  @DataProvider
  public Object[][] runs() {
    String plain = "--global-batch-size 4 --train-iters 30 --lr 1e-2";
    String cosine =
        "--global-batch-size 8 --train-iters 50 --lr 3e-2 --min-lr 1e-3 --lr-decay-style cosine"
            + " --lr-decay-iters 40 --lr-warmup-iters 6 --lr-warmup-init 1e-4 --weight-decay 0.2";
    String samples =
        "--global-batch-size 4 --train-samples 400 --lr 2e-2 --lr-decay-style inverse-square-root"
            + " --lr-warmup-samples 24 --lr-decay-samples 320";
    String share =
        "--global-batch-size 4 --train-iters 60 --lr 2e-2 --lr-warmup-fraction 0.13"
            + " --lr-decay-style WSD --lr-wsd-decay-iters 20 --lr-wsd-decay-style minus_sqrt";
    return new Object[][] {
      {plain, "--global-batch-size 4 --train-iters 30 --lr 1e-2"},
      {plain, "--global-batch-size 4 --train-iters 90 --lr 5e-2 --lr-decay-style constant"},
      {plain, "--global-batch-size 2 --train-iters 60 --lr 5e-2 --lr-warmup-iters 3"},
      {plain, "--global-batch-size 2 --train-samples 240 --lr 5e-2 --lr-warmup-samples 3"},
      {cosine, plain},
      {cosine, samples},
      {cosine, share},
      {samples, plain},
      {samples, cosine.replace("batch-size 8", "batch-size 2")},
      {share, plain},
      {share, samples},
    };
  }

  @Test(dataProvider = "runs")
  public void theScheduleIsTheCheckpoints(String saved, String flags) {
    RunConfig before = run(saved);
    RunConfig used = CheckpointSchedule.into(run(flags), before.toJson());
    assertSameRates(used.schedule(), before.schedule());
    assertEquals(used.optimizer().weightDecay(), before.optimizer().weightDecay());
    assertEquals(used.training(), run(flags).training());
    // A run that goes on from it has the same again.
    RunConfig third = CheckpointSchedule.into(run("--train-iters 10 --lr 7"), used.toJson());
    assertSameRates(third.schedule(), before.schedule());
  }

  private static void assertSameRates(LearningRate actual, LearningRate expected) {
    for (int n = 0; n < 500; n++) {
      assertEquals(actual.at(n), expected.at(n), 0, "after " + n);
    }
  }

  @Test
  public void whatIsNotTakenFromTheLineIsTold() {
    RunConfig before = run("--global-batch-size 4 --train-iters 30 --lr 1e-2 --adam-beta2 0.9");
    RunConfig same = run("--global-batch-size 4 --train-iters 30 --lr 1e-2");
    assertEquals(
        CheckpointSchedule.told(same, CheckpointSchedule.into(same, before.toJson())),
        "--use-checkpoint-opt-param-scheduler: the checkpoint's schedule is that of the flags");
    RunConfig other = run("--global-batch-size 2 --train-iters 40 --lr 2e-2 --lr-decay-iters 35");
    RunConfig used = CheckpointSchedule.into(other, before.toJson());
    assertEquals(
        CheckpointSchedule.told(other, used),
        "--use-checkpoint-opt-param-scheduler: the checkpoint's schedule goes on: --lr 0.01 instead"
            + " of 0.02, --lr-decay-iters 60 instead of 35");
    assertEquals(used.optimizer().adamBeta2(), 0.999);
  }

  @Test
  public void aScheduleOfBrokenIterationsIsRefused() {
    RunConfig before = run("--global-batch-size 4 --train-iters 9 --lr 1e-2 --lr-warmup-iters 3");
    RunConfig flags = run("--global-batch-size 6 --train-iters 30 --lr 1e-2");
    assertSameRates(CheckpointSchedule.into(flags, before.toJson()).schedule(), before.schedule());
    RunConfig broken = run("--global-batch-size 10 --train-iters 30 --lr 1e-2");
    String sentence =
        expectThrows(
                IllegalArgumentException.class,
                () -> CheckpointSchedule.into(broken, before.toJson()))
            .getMessage();
    assertTrue(
        sentence.startsWith(
            "--use-checkpoint-opt-param-scheduler: the decay of the checkpoint's schedule has 36"
                + " samples, which is no multiple of --global-batch-size 10"),
        sentence);
  }

  @Test
  public void megatronsNamesAreTaken() {
    for (String name :
        new String[] {"opt_param-scheduler", "lr-scheduler", "opt-param-scheduler"}) {
      String line =
          MODEL.replace(" --use-checkpoint-opt-param-scheduler ", "") + " --train-iters 3";
      RunConfig run = GptFamily.parse(Refusals.words(line + " --lr 1 --use-checkpoint-" + name));
      assertTrue(run.checkpoint().useCheckpointOptParamScheduler(), name);
      assertEquals(
          Refusals.of(
              new GptFamily().flags(),
              line + " --lr 1 --override-" + name + " --use-checkpoint-" + name),
          "--override-" + name + " and --use-checkpoint-opt-param-scheduler exclude each other");
      assertEquals(
          new GptFamily()
              .flags()
              .parse(Refusals.words(line + " --lr 1 --override-" + name))
              .withoutEffect()
              .toString(),
          "[--override-" + name + "]");
    }
  }
}
