package moe4j.training;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import moe4j.model.LogLines;
import moe4j.model.RunConfig;
import moe4j.model.TrainState;
import moe4j.model.gpt.GptFamily;
import moe4j.record.ExpertLoad;
import moe4j.record.IterationRecord;
import moe4j.record.RunRecord;
import moe4j.record.ValidationRecord;
import moe4j.training.step.StepMetrics;
import moe4j.training.step.TrainingListener;
import moe4j.training.step.TrainingListener.EvaluationPart;
import org.testng.annotations.Test;

/** A record that cannot be written ends no run. */
public class RecordFaultsTest {
  private static final RunConfig CONFIG =
      GptFamily.parse(
          ("--num-layers 1 --hidden-size 8 --num-attention-heads 1 --seq-length 8 --lr 1e-3"
                  + " --micro-batch-size 2 --train-iters 20 --log-interval 5 --mock-data"
                  + " --tokenizer-type NullTokenizer --vocab-size 60")
              .split(" "));

  /** Notes what it is given; full it fails, as files do. */
  private static final class Noted implements RunRecord {
    final List<String> events = new ArrayList<>();
    boolean full;

    private void note(String event) throws IOException {
      if (full) {
        throw new IOException(file() + ": No space left on device");
      }
      events.add(event);
    }

    @Override
    public Path file() {
      return Path.of("noted");
    }

    @Override
    public void train(IterationRecord record) throws IOException {
      note("train " + record.iteration());
    }

    @Override
    public void expertLoad(int step, long consumedSamples, ExpertLoad load) throws IOException {
      note("load " + step);
    }

    @Override
    public void validation(ValidationRecord record) throws IOException {
      note(record.set() + " " + record.iteration());
    }

    @Override
    public void end(int step, long consumedSamples, String reason) throws IOException {
      note(reason + " " + step);
    }

    @Override
    public void close() throws IOException {
      note("closed");
    }
  }

  private final Noted first = new Noted();
  private final Noted second = new Noted();

  private static TrainState at(int iteration) {
    return new TrainState(iteration, 2L * iteration, 0, 0);
  }

  private static void interval(RunRecorder recorder, int iteration) {
    StepMetrics.Reading reading =
        new StepMetrics.Reading(
            Map.of("lm loss", 2.0),
            Map.of(),
            Map.of(),
            5,
            0,
            0,
            Map.of(0, List.of(3L, 5L)),
            Map.of(0, 8L));
    recorder.interval(
        new TrainingListener.Interval(at(iteration), reading, 5, 1.0, 1e-3, 1.0, null, null));
  }

  @Test
  public void trainingGoesOnWithoutARecordThatIsFull() {
    try (RunRecorder recorder =
        new RunRecorder(
            CONFIG,
            LogLines.megatron(),
            samples -> samples,
            1,
            rate -> Optional.empty(),
            () -> null,
            List::of,
            List.of(first, second))) {
      interval(recorder, 5);
      first.full = true;
      interval(recorder, 10);
      recorder.validation(
          new TrainingListener.Validation(at(10), EvaluationPart.VALIDATION, false, false, 2.5));
      first.full = false;
      interval(recorder, 15);
      second.full = true;
      recorder.validation(
          new TrainingListener.Validation(at(20), EvaluationPart.VALIDATION, true, false, 1.5));
      recorder.validation(
          new TrainingListener.Validation(at(20), EvaluationPart.TEST, true, false, 3.5));
      recorder.end(at(20), "complete");
      assertEquals(recorder.lastValidation().losses().get("lm loss"), 1.5);
    }
    assertEquals(
        first.events,
        List.of(
            "train 5",
            "load 5",
            "train 15",
            "load 15",
            "VALIDATION 20",
            "TEST 20",
            "complete 20",
            "closed"));
    assertEquals(
        second.events,
        List.of("train 5", "load 5", "train 10", "load 10", "TRAINING 10", "train 15", "load 15"));
  }

  /** The headline is the loss that the curve ends with. */
  @Test
  public void theHeadlineIsTheCurves() {
    Noted record = new Noted();
    try (RunRecorder recorder =
        new RunRecorder(
            CONFIG,
            LogLines.megatron(),
            samples -> samples,
            1,
            rate -> Optional.empty(),
            () -> null,
            List::of,
            List.of(record))) {
      recorder.validation(
          new TrainingListener.Validation(at(20), EvaluationPart.VALIDATION, false, false, 2.5));
      recorder.validation(
          new TrainingListener.Validation(at(20), EvaluationPart.VALIDATION, true, true, 1.5));
      assertEquals(recorder.lastValidation().losses().get("lm loss"), 2.5);
    }
    assertEquals(record.events, List.of("TRAINING 20", "AGAIN 20", "closed"));
  }
}
