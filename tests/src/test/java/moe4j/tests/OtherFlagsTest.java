package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** A run that goes on with other flags says what differs, or refuses what means nothing then. */
public class OtherFlagsTest {
  private static final String TOLD = "in the checkpoint's run";

  private final Random random = Seeds.random(OtherFlagsTest.class);
  private Workspace workspace;
  private Path corpus;
  private Path run;
  private List<String> base;

  /** A run of four steps, from which all others go on. */
  @BeforeClass
  public void makeRun() throws IOException {
    workspace = new Workspace();
    corpus = workspace.corpus("corpus", random, 200);
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --train-iters 8"
                + " --lr-decay-iters 100 --tokenizer-type ByteTokenizer --split 80,10,10"
                + " --position-embedding-type rope --eval-iters 4 --eval-interval 2"
                + " --log-interval 1 --num-threads 1 --data-path",
            corpus);
    run = workspace.path("run");
    Cli.run(Cli.with(base, "--exit-interval 4", "--save", run)).ok();
  }

  @AfterClass(alwaysRun = true)
  public void close() throws IOException {
    workspace.close();
  }

  private Cli.Result goOn(String flags, Object... more) {
    return Cli.run(Cli.with(Cli.with(base, "--load", run), flags, more));
  }

  private static List<String> told(Cli.Result result) {
    return result.out().lines().filter(line -> line.contains(TOLD)).map(String::strip).toList();
  }

  @Test
  public void theSameFlagsAreNoWord() {
    // Of a record's kind, or of where things lie: nothing of it changes what comes out.
    Cli.Result result = goOn("--log-interval 3 --exit-interval 100 --num-threads 2");
    assertEquals(told(result.ok()), List.of());
  }

  @Test
  public void eachDifferenceIsALine() {
    Cli.Result result = goOn("--lr 2e-2 --hidden-dropout 0.2 --train-iters 6 --eval-interval 3");
    assertEquals(
        told(result.ok()),
        List.of(
            "--hidden-dropout was 0.0 in the checkpoint's run, and is 0.2 now",
            "--lr was 0.01 in the checkpoint's run, and is 0.02 now",
            "--train-iters was 8 in the checkpoint's run, and is 6 now",
            "--eval-interval was 2 in the checkpoint's run, and is 3 now"));
    assertEquals(
        told(goOn("--bf16 --no-load-optim").ok()),
        List.of("--bf16 was off in the checkpoint's run, and is on now"));
  }

  @Test
  public void otherDataAreRefusedUnlessMeant() throws IOException {
    Path other = workspace.corpus("other", random, 200);
    for (String[] flags :
        new String[][] {
          {"--split 90,5,5", "--split 0.8, 0.1, 0.1, and this one has 0.9, 0.05, 0.05"},
          {"--seq-length 32", "--seq-length 16, and this one has 32"},
          {"--seed 7", "--seed 1234, and this one has 7"},
          {"--data-path " + other, "--data-path 400 sequences of "},
        }) {
      Cli.Result refused = goOn(flags[0]);
      assertEquals(refused.status(), 2, refused.out() + refused.err());
      assertTrue(
          refused
              .err()
              .startsWith(
                  "moe4j pretrain-gpt: checkpoint %s is of a run with %s"
                      .formatted(run.resolve("iter_0000004"), flags[1])),
          refused.err());
      assertTrue(
          refused
              .err()
              .endsWith(
                  ": its place in the data means nothing here; give what it had, or"
                      + " --override-data to go on at that place all the same\n"),
          refused.err());
    }
    Cli.Result meant = goOn("--seed 7 --override-data --data-path", other).ok();
    assertTrue(
        meant.out().contains("--override-data: the checkpoint is of a run with --seed 1234"));
    assertTrue(
        meant.out().contains("--override-data: the checkpoint is of a run with --data-path"));
    assertTrue(meant.out().contains("iteration        5/       8"), meant.out());
  }

  /** It is what is in them that counts. */
  @Test
  public void dataMayHaveMoved() throws IOException {
    Path moved = workspace.path("moved");
    for (String suffix : List.of(".bin", ".idx")) {
      Files.copy(Path.of(corpus + suffix), Path.of(moved + suffix));
    }
    assertEquals(
        told(goOn("--split 8,1,1 --data-path", moved).ok()),
        List.of(
            "--data-path was %s in the checkpoint's run, and is %s now".formatted(corpus, moved),
            "--split was 80,10,10 in the checkpoint's run, and is 8,1,1 now"));
  }

  /** What was consumed counts, and not what the new flags would have consumed. */
  @Test
  public void fewerSamplesAreNotRefused() throws IOException {
    Path second = workspace.path("fewer");
    goOn("--eval-iters 1 --global-batch-size 2 --train-iters 9 --save", second).ok();
    assertEquals(RunRecord.of(second).steps(), IntStream.rangeClosed(5, 9).boxed().toList());
    Cli.Result none = goOn("--eval-iters 0");
    assertEquals(none.status(), 0, none.err());
  }

  /** Megatron's flag: the run goes on as if nothing of its schedule had been typed. */
  @Test
  public void theCheckpointsScheduleIsTakenWhereAskedFor() throws IOException {
    Path same = workspace.path("same-schedule");
    Path other = workspace.path("other-schedule");
    goOn("--save", same).ok();
    String flags = " --lr 3e-2 --lr-decay-style cosine --lr-decay-iters 20 --weight-decay 0.3";
    String asked = "--use-checkpoint-opt_param-scheduler";
    Cli.Result result = goOn(asked + flags + " --exit-interval 6 --save", other).ok();
    assertEquals(told(result), List.of());
    assertTrue(
        result
            .out()
            .contains(
                "--use-checkpoint-opt-param-scheduler: the checkpoint's schedule goes on: --lr 0.01"
                    + " instead of 0.03, --lr-decay-style linear instead of cosine,"
                    + " --lr-decay-iters 100 instead of 20, --weight-decay 0.01 instead of 0.3"),
        result.out());
    // What is saved is what was used: the second run's flags are nobody's schedule.
    Cli.run(Cli.with(Cli.with(base, "--load", other), asked + " --lr 9 --save", other)).ok();
    for (String key : List.of("learning rate", "lm loss")) {
      assertEquals(RunRecord.of(other).texts(key), RunRecord.of(same).texts(key));
    }
    assertTrue(
        goOn(asked + " --finetune")
            .ok()
            .out()
            .contains("this run goes on from no checkpoint, and has the schedule of its own"));
  }

  /** Some steps more are the rest of the same order; many more are epochs in another. */
  @Test
  public void anotherOrderIsTold() {
    String reordered = "data come in another order from here on";
    Cli.Result same = goOn("--train-iters 9").ok();
    assertTrue(same.out().contains("--train-iters was 8"), same.out());
    assertEquals(
        same.out().lines().filter(l -> l.contains("the training " + reordered)).count(), 0);
    Cli.Result other = goOn("--train-iters 5000 --exit-interval 5 --eval-interval 5000").ok();
    assertEquals(
        other.out().lines().filter(l -> l.contains("the training " + reordered)).count(),
        1,
        other.out());
  }
}
