package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.record.RunEnd;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import moe4j.training.UnsavedException;
import moe4j.training.step.TrainingListener;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** A signal at moments that a process from outside cannot choose. */
public class StoppedRunTest {
  private static final List<String> BASE =
      Cli.arguments(
          "--num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
              + " --micro-batch-size 2 --lr 1e-2 --mock-data --tokenizer-type NullTokenizer"
              + " --vocab-size 60 --hidden-dropout 0.1 --eval-iters 3 --eval-interval 2"
              + " --log-interval 1 --num-threads 1 --train-iters 6");

  private Workspace workspace;

  @BeforeMethod
  public void open() {
    workspace = new Workspace();
  }

  @AfterMethod(alwaysRun = true)
  public void close() throws IOException {
    workspace.close();
  }

  /** Runs, and sends a signal after a step: before the evaluation behind it. */
  private static Pretraining.Outcome run(List<String> line, int step, Runnable before)
      throws IOException {
    RunConfig config = GptFamily.parse(line.toArray(new String[0]));
    ShutdownSignal signal = ShutdownSignal.none();
    return Pretraining.run(
        config,
        new SmallGpt(config, model -> model),
        signal,
        new Watcher() {
          @Override
          public void interval(TrainingListener.Interval interval) {
            if (interval.state().iteration() == step) {
              before.run();
              signal.heard("INT");
            }
          }
        });
  }

  private static List<String> saving(Path run) {
    return Cli.with(BASE, "--save", run);
  }

  /** At step 4, where an evaluation begins: it is left, and made where the run goes on. */
  @Test
  public void anEvaluationIsLeftAndMadeLater() throws IOException {
    Path run = workspace.path("run");
    Path undisturbed = workspace.path("undisturbed");
    List<Pretraining.Outcome> outcomes = new ArrayList<>();
    Cli.quietly(
        () -> {
          outcomes.add(run(saving(run), 4, () -> {}));
          outcomes.add(run(Cli.with(saving(run), "--load", run), 0, () -> {}));
          return outcomes.add(run(saving(undisturbed), 0, () -> {}));
        });
    assertEquals(outcomes.get(0).end(), RunEnd.STOPPED);
    assertEquals(outcomes.get(0).status(), 0);
    assertEquals(outcomes.get(0).state().iteration(), 4);
    assertTrue(outcomes.get(0).state().evaluationDue());
    assertEquals(outcomes.get(1).state(), outcomes.get(2).state());
    assertEquals(RunRecord.of(run).steps(), IntStream.rangeClosed(1, 6).boxed().toList());
    assertEquals(RunRecord.of(run).measured(), RunRecord.of(undisturbed).measured());
  }

  /** At the last step, whose evaluations are all made later. */
  @Test
  public void theLastEvaluationsAreMadeLater() throws IOException {
    Path run = workspace.path("run");
    Path undisturbed = workspace.path("undisturbed");
    List<Pretraining.Outcome> outcomes = new ArrayList<>();
    Cli.quietly(
        () -> {
          outcomes.add(run(saving(run), 6, () -> {}));
          outcomes.add(run(Cli.with(saving(run), "--load", run), 0, () -> {}));
          return outcomes.add(run(saving(undisturbed), 0, () -> {}));
        });
    assertEquals(outcomes.get(0).end(), RunEnd.STOPPED);
    assertEquals(outcomes.get(0).status(), 0);
    assertEquals(outcomes.get(1).end(), RunEnd.COMPLETE);
    assertEquals(RunRecord.of(run).measured(), RunRecord.of(undisturbed).measured());
  }

  @Test
  public void nothingKeptIsTold() throws IOException {
    List<Pretraining.Outcome> outcomes = new ArrayList<>();
    Cli.quietly(() -> outcomes.add(run(BASE, 3, () -> {})));
    assertEquals(outcomes.get(0).end(), RunEnd.STOPPED);
    assertEquals(outcomes.get(0).status(), 130);
  }

  /** A file stands where the run's directory was: the status says that it was stopped unsaved. */
  @Test
  public void aSaveThatFailsIsTold() throws IOException {
    Path run = workspace.path("run");
    List<UnsavedException> failed = new ArrayList<>();
    Cli.quietly(
        () ->
            failed.add(
                expectThrows(
                    UnsavedException.class, () -> run(saving(run), 3, () -> replace(run)))));
    assertEquals(failed.get(0).status(), 130);
    assertTrue(failed.get(0).getMessage().contains(run.toString()), failed.get(0).getMessage());
  }

  private static void replace(Path directory) {
    try {
      Workspace.delete(directory);
      Files.writeString(directory, "in the way");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
