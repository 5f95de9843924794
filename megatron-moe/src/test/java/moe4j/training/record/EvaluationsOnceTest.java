package moe4j.training.record;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import moe4j.record.MetricsReader;
import moe4j.record.MetricsWriter;
import moe4j.record.RunHistory;
import moe4j.record.TensorBoardWriter;
import moe4j.record.ValidationRecord;
import moe4j.record.ValidationRecord.Set;
import moe4j.report.CompareReport;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** A step has one validation loss, whatever else was evaluated behind it. */
public class EvaluationsOnceTest {
  private Path directory;

  @BeforeMethod
  public void make() throws IOException {
    directory = Files.createTempDirectory("evaluations");
  }

  @AfterMethod
  public void clean() throws IOException {
    MadeUpRun.delete(directory);
  }

  private record Evaluation(int step, Set set, double loss) {}

  private RunHistory read(Evaluation... evaluations) throws IOException {
    try (MetricsWriter writer = MetricsWriter.create(directory, MadeUpRun.config("run", 0))) {
      for (Evaluation each : evaluations) {
        writer.validation(
            new ValidationRecord(
                each.step, 16L * each.step, each.set, Map.of("lm loss", each.loss)));
      }
    }
    return MetricsReader.read(directory);
  }

  private static String curve(RunHistory run) {
    List<String> points = new ArrayList<>();
    run.validation().forEach(point -> points.add(point.at().step() + ": " + point.loss()));
    return String.join(", ", points);
  }

  /** Before, the end's evaluation had the same name whether or not the last step had one. */
  @Test
  public void recordsOfEarlierVersionsHaveNoHook() throws IOException {
    RunHistory run =
        read(
            new Evaluation(10, Set.TRAINING, 3.0),
            new Evaluation(20, Set.TRAINING, 2.0),
            new Evaluation(20, Set.VALIDATION, 2.5),
            new Evaluation(20, Set.TEST, 2.25));
    assertEquals(curve(run), "10: 3.0, 20: 2.0");
    assertEquals(run.finalValidationLoss().orElseThrow(), 2.0);
    assertEquals(run.test().get(0).loss(), 2.25);
    assertEquals(
        CompareReport.of(List.of(directory)).summary(),
        "validation loss: run 2.0000 (perplexity 7.389)");
  }

  @Test
  public void whatIsTakenAgainIsOnNoCurve() throws IOException {
    RunHistory run =
        read(
            new Evaluation(10, Set.TRAINING, 3.0),
            new Evaluation(20, Set.TRAINING, 2.0),
            new Evaluation(20, Set.AGAIN, 1.5),
            new Evaluation(20, Set.AGAIN, 1.75));
    assertEquals(curve(run), "10: 3.0, 20: 2.0");
  }

  /** The last step of a run that no interval divides. */
  @Test
  public void theEndsEvaluationCountsWhereItIsTheOnly() throws IOException {
    RunHistory run =
        read(
            new Evaluation(10, Set.TRAINING, 3.0),
            new Evaluation(20, Set.TRAINING, 2.0),
            new Evaluation(25, Set.VALIDATION, 1.5),
            new Evaluation(25, Set.VALIDATION, 1.75));
    assertEquals(curve(run), "10: 3.0, 20: 2.0, 25: 1.75");
  }

  @Test
  public void tensorBoardDrawsItOnce() throws IOException {
    try (TensorBoardWriter writer = TensorBoardWriter.create(directory)) {
      long before = Files.size(writer.file());
      writer.validation(new ValidationRecord(20, 320, Set.AGAIN, Map.of("lm loss", 1.5)));
      assertEquals(Files.size(writer.file()), before);
      writer.validation(new ValidationRecord(20, 320, Set.TRAINING, Map.of("lm loss", 2.0)));
      String events = new String(Files.readAllBytes(writer.file()), StandardCharsets.ISO_8859_1);
      assertEquals(Stream.of(events.split("lm loss validation ppl vs", -1)).count(), 2);
    }
  }
}
