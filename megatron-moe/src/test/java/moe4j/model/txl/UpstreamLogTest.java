package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.record.DeviceMemory;
import moe4j.record.ExpertLoad;
import moe4j.record.IterationRecord;
import moe4j.record.Peak;
import moe4j.record.ValidationRecord;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Every line to the character: what parses upstream's logs parses ours. */
public class UpstreamLogTest {
  private static final String DASHES = "-".repeat(100);
  private static final String EQUALS = "=".repeat(100);

  private long nanos;

  private UpstreamLog log(int segments, int evalInterval) {
    nanos = 0;
    return new UpstreamLog(null, segments, evalInterval, () -> nanos);
  }

  private static IterationRecord record(
      int step, double millis, double rate, Map<String, Double> losses, Double norm, int skipped) {
    return new IterationRecord(
        step, 1000, 4L * step, 0, millis, null, rate, 4, losses, 1.0, norm, null, null, skipped, 0,
        12345.6, null, null, 77, null, Map.of(), null);
  }

  private static Map<String, Double> loss(double loss) {
    return Map.of("lm loss", loss);
  }

  /** Lines that Python's own formatting gave for upstream's format string. */
  @DataProvider
  public Object[][] steps() {
    return new Object[][] {
      {
        200,
        7956,
        51.238,
        2.5e-4,
        2.9512,
        "| epoch   1 step      200 |    200 batches | lr 0.00025 | ms/batch 51.24 | loss  2.95"
            + " | bpc   4.25768"
      },
      {
        7956,
        7956,
        1234.5,
        1.23456e-5,
        1.0,
        "| epoch   1 step     7956 |   7956 batches | lr 1.23e-05 | ms/batch 1234.50 | loss  1.00"
            + " | bpc   1.44270"
      },
      {
        7957,
        7956,
        9.0,
        0.1,
        0.735,
        "| epoch   2 step     7957 |      1 batches | lr 0.1 | ms/batch  9.00 | loss  0.73"
            + " | bpc   1.06038"
      },
      {
        400000,
        7956,
        5.125,
        0.0,
        12.375,
        "| epoch  51 step   400000 |   2200 batches | lr 0 | ms/batch  5.12 | loss 12.38"
            + " | bpc  17.85335"
      },
    };
  }

  @Test(dataProvider = "steps")
  public void trainingLines(
      int step, int segments, double millis, double rate, double loss, String expected) {
    List<String> lines = log(segments, 1).training(record(step, millis, rate, loss(loss), 0.5, 0));
    assertEquals(
        lines, List.of(expected + " | grad norm 0.500 | tokens/s 12346 | live native pointers 77"));
  }

  /** What upstream does not print stands behind what it does, in one order. */
  @Test
  public void whatUpstreamDoesNotPrint() {
    Map<String, Double> losses = new LinkedHashMap<>();
    losses.put("lm loss", 2.0);
    losses.put("load_balancing_loss", 1.03125);
    losses.put("bpc", 2.0 / Math.log(2));
    IterationRecord record =
        new IterationRecord(
            3,
            1000,
            12,
            0,
            10,
            null,
            1e-3,
            4,
            losses,
            1.0,
            null,
            null,
            null,
            2,
            1,
            1e6,
            41.26,
            new Peak("a device", 1e14),
            7,
            new ExpertLoad.Summary(1.5, 0.25, 0.125),
            Map.of("router entropy", 1.0625),
            new DeviceMemory(1, 2, 3, 3L << 29));
    String line = log(10, 1).training(record).get(0);
    assertEquals(
        line,
        "| epoch   1 step        3 |      3 batches | lr 0.001 | ms/batch 10.00 | loss  2.00 | bpc"
            + "   2.88539 | tokens/s 1000000 | MFU 41.3% of "
            + new Peak("a device", 1e14)
            + " | skipped steps 2 | load_balancing_loss 1.0312 | max/mean expert load 1.500 |"
            + " expert load CV 0.250 | dropped share 0.1250 | router entropy 1.062 | GPU memory"
            + " 1.50 GiB | live native pointers 7");
  }

  /** An interval without a loss has Python's word for it. */
  @Test
  public void aLossThatIsNone() {
    String line = log(10, 1).training(record(1, 1, 1e-3, Map.of(), null, 1)).get(0);
    assertTrue(
        line.startsWith(
            "| epoch   1 step        1 |      1 batches | lr 0.001 | ms/batch  1.00 | loss   nan |"
                + " bpc       nan | tokens/s"),
        line);
  }

  private static ValidationRecord validation(int step, ValidationRecord.Set set, double loss) {
    return new ValidationRecord(step, 4L * step, set, loss(loss));
  }

  @Test
  public void evaluationLines() {
    UpstreamLog log = log(100, 4000);
    nanos = 3_141_592_653L;
    assertEquals(
        log.validation(validation(4000, ValidationRecord.Set.TRAINING, 1.2345)),
        List.of(
            DASHES,
            "| Eval   1 at step     4000 | time:  3.14s | valid loss  1.23 | bpc   1.78101",
            DASHES));
    // The time is that since the evaluation before.
    nanos += 400_000_000_000L;
    assertEquals(
        log.validation(validation(8000, ValidationRecord.Set.TRAINING, 0.735)).get(1),
        "| Eval   2 at step     8000 | time: 400.00s | valid loss  0.73 | bpc   1.06038");
    // The end of the run comes behind the same step: it was said.
    assertEquals(log.validation(validation(8000, ValidationRecord.Set.AGAIN, 0.735)), List.of());
    nanos += 1_000_000_000L;
    assertEquals(
        log.validation(validation(8001, ValidationRecord.Set.VALIDATION, 0.7)).get(1),
        "| Eval   2 at step     8001 | time:  1.00s | valid loss  0.70 | bpc   1.00989");
    assertEquals(
        log.validation(validation(8001, ValidationRecord.Set.TEST, 0.735)),
        List.of(EQUALS, "| End of training | test loss  0.73 | test bpc   1.06038", EQUALS));
  }

  @Test
  public void argumentLines() {
    Map<String, Object> arguments = new LinkedHashMap<>();
    arguments.put("n_layer", 12);
    arguments.put("dropout", 0.1);
    arguments.put("lr", 0.00025);
    arguments.put("eta_min", 0.0);
    arguments.put("same_length", false);
    arguments.put("adaptive", true);
    arguments.put("cutoffs", List.of(20, 40));
    arguments.put("work_dir", null);
    arguments.put("data", "data/enwik8");
    arguments.put("world_size", 4);
    UpstreamLog log = new UpstreamLog(null, 1, 1, () -> 0);
    assertEquals(
        log.arguments(arguments, 204, 204),
        List.of(
            EQUALS,
            "    - n_layer : 12",
            "    - dropout : 0.1",
            "    - lr : 0.00025",
            "    - eta_min : 0.0",
            "    - same_length : False",
            "    - adaptive : True",
            "    - cutoffs : [20, 40]",
            "    - work_dir : None",
            "    - data : data/enwik8",
            "    - world_size : 4",
            "    - n_token : 204",
            EQUALS));
  }

  /** {@code '{:.3g}'.format(value)}, by Python 3.12. */
  @DataProvider
  public Object[][] numbers() {
    return new Object[][] {
      {2.5e-4, "0.00025"},
      {1e-4, "0.0001"},
      {9.999e-5, "0.0001"},
      {9.99e-5, "9.99e-05"},
      {1.25e-5, "1.25e-05"},
      {1e-5, "1e-05"},
      {1.5e-10, "1.5e-10"},
      {1e-100, "1e-100"},
      {0.0, "0"},
      {-0.0, "-0"},
      {1.0, "1"},
      {10.0, "10"},
      {100.0, "100"},
      {120.0, "120"},
      {999.0, "999"},
      {999.4, "999"},
      {999.5, "1e+03"},
      {1000.0, "1e+03"},
      {1234.0, "1.23e+03"},
      {1e16, "1e+16"},
      {0.1, "0.1"},
      {0.12345, "0.123"},
      {3.14159, "3.14"},
      {2e-3, "0.002"},
      // Ties go to the even digit, where they are ties of the binary value.
      {1.125, "1.12"},
      {1.375, "1.38"},
      {0.0625, "0.0625"},
      {0.10005, "0.1"},
      {2.675, "2.67"},
      {100.5, "100"},
      {101.5, "102"},
      {-1.125, "-1.12"},
      {-2.5e-4, "-0.00025"},
      {-1234.5, "-1.23e+03"},
      {Double.NaN, "nan"},
      {Double.POSITIVE_INFINITY, "inf"},
      {Double.NEGATIVE_INFINITY, "-inf"},
    };
  }

  @Test(dataProvider = "numbers")
  public void generalIsPythons(double value, String expected) {
    assertEquals(UpstreamLog.general(value), expected);
  }

  private static boolean isOurs(String line) {
    return line.startsWith("|")
        || line.startsWith("===")
        || line.startsWith("---")
        || line.startsWith("    - ")
        || line.startsWith("#");
  }

  /** The file has what the console has, and a run that is taken up again adds to it. */
  @Test
  public void theFileIsWhatIsPrinted() throws IOException {
    Random random = Seeds.random(UpstreamLogTest.class);
    try (TempDir folder = new TempDir()) {
      Object[] more = {
        "--data-file", folder.text("text", random, 900), "--work-dir", folder.path("run")
      };
      String flags =
          "pretrain-txl "
              + SmallRun.SHAPE
              + " --split-bytes 400,200,200 --max-step 8 --eval-interval 4 --log-interval 2";
      Console first = Console.command(flags + " --exit-interval 6", more).ok();
      List<String> expected =
          new ArrayList<>(first.out().lines().filter(UpstreamLogTest::isOurs).toList());
      assertEquals(Files.readAllLines(folder.path("run").resolve("log.txt")), expected);
      assertEquals(count(expected, "\\| epoch .*"), 4);
      assertEquals(count(expected, "\\| Eval   1 at step        4 \\| time: .*"), 1);
      assertEquals(count(expected, "\\| End of training .*"), 0);
      Console second = Console.command(flags + " --restart", more).ok();
      expected.addAll(second.out().lines().filter(UpstreamLogTest::isOurs).toList());
      assertEquals(Files.readAllLines(folder.path("run").resolve("log.txt")), expected);
      // Once, although the end of the run asks for it, too.
      assertEquals(count(expected, "\\| Eval   2 at step        8 .*"), 1);
      assertEquals(count(expected, "\\| End of training \\| test loss .*"), 1);
      assertEquals(count(expected, "    - max_step : 8"), 2);
      assertEquals(count(expected, "#params = \\d+"), 2);
      assertEquals(count(expected, "#non emb params = \\d+"), 2);
      assertEquals(count(expected, "    - restart : True"), 1);
    }
  }

  private static long count(List<String> lines, String pattern) {
    return lines.stream().filter(line -> line.matches(pattern)).count();
  }
}
