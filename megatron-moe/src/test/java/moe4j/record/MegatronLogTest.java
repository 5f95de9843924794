package moe4j.record;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;

import java.time.LocalDateTime;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import moe4j.training.record.MadeUpRun;
import org.testng.annotations.Test;

public class MegatronLogTest {
  private static final LocalDateTime NOW = LocalDateTime.of(2026, 11, 23, 16, 21, 47, 123_456_000);

  private static Map<String, Double> losses() {
    Map<String, Double> losses = new LinkedHashMap<>();
    losses.put("lm loss", 10.92563);
    losses.put("load_balancing_loss", 1.012345);
    losses.put("z_loss", 0.0);
    return losses;
  }

  private static Map<String, Double> figures() {
    Map<String, Double> figures = new LinkedHashMap<>();
    figures.put("router entropy", 2.61349);
    figures.put("spread", -0.5);
    return figures;
  }

  @Test
  public void fullLine() {
    IterationRecord it =
        new IterationRecord(
            1,
            1000,
            32,
            0,
            1234.54,
            123.4,
            1.5e-4,
            32,
            losses(),
            1.0,
            12.345,
            0L,
            123.456,
            0,
            0,
            8191.96,
            41.24,
            new Peak("NVIDIA H200 bf16", 989.4e12),
            1834,
            new ExpertLoad.Summary(1.5, 0.25, 0.0125),
            figures(),
            null);
    assertEquals(
        MegatronLog.training(it, NOW),
        " [2026-11-23 16:21:47.123456] iteration        1/    1000 | consumed samples:           32 |"
            + " elapsed time per iteration (ms): 1234.5 | throughput per GPU (TFLOP/s/GPU): 123.4 |"
            + " learning rate: 1.500000E-04 | global batch size:    32 | lm loss: 1.092563E+01 |"
            + " load_balancing_loss: 1.012345E+00 | z_loss: 0.000000E+00 | loss scale: 1.0 |"
            + " grad norm: 12.345 | num zeros: 0 | params norm: 123.456 |"
            + " number of skipped iterations:   0 | number of nan iterations:   0 |"
            + " tokens/s: 8192.0 | MFU: 41.2% of 989.4 TFLOP/s (NVIDIA H200 bf16) |"
            + " live native pointers: 1834 | max/mean expert load: 1.500 | expert load CV: 0.250 |"
            + " dropped share: 0.0125 | router entropy: 2.613 | spread: -0.500 |");
    List<String> keys = List.copyOf(it.values().keySet());
    assertEquals(
        keys.subList(keys.indexOf("dropped share"), keys.size()),
        List.of("dropped share", "router entropy", "spread"));
    assertEquals(it.values().get("router entropy"), 2.61349);
  }

  /** What a user's gate calls one of its figures takes nothing else's place. */
  @Test
  public void aFigureOfATakenNameReplacesNothing() {
    IterationRecord it =
        new IterationRecord(
            1,
            2,
            3,
            0,
            4.5,
            null,
            null,
            6,
            losses(),
            1.0,
            null,
            null,
            null,
            0,
            0,
            7.5,
            null,
            null,
            8,
            null,
            Map.of("lm loss", 99.0),
            null);
    assertEquals(it.values().get("lm loss"), 10.92563);
  }

  /** Megatron's line has none of it; metrics.jsonl has, in bytes. */
  @Test
  public void aGpusMemoryIsRecorded() {
    IterationRecord it =
        new IterationRecord(
            1,
            2,
            3,
            0,
            4.5,
            null,
            null,
            6,
            Map.of(),
            1.0,
            null,
            null,
            null,
            0,
            0,
            7.5,
            null,
            null,
            8,
            null,
            Map.of(),
            new DeviceMemory(1L << 33, 3L << 33, 1L << 34, 1L << 35));
    Map<String, Number> values = it.values();
    assertEquals(values.get("memory allocated (bytes)"), 1L << 33);
    assertEquals(values.get("memory max allocated (bytes)"), 3L << 33);
    assertEquals(values.get("memory reserved (bytes)"), 1L << 34);
    assertEquals(values.get("memory max reserved (bytes)"), 1L << 35);
  }

  @Test
  public void whatIsNotMeasuredIsLeftOut() {
    Map<String, Double> nan = Map.of("lm loss", Double.NaN);
    IterationRecord it =
        new IterationRecord(
            123456, 500000, 3950592, 64, 87.25, null, null, 256, nan, 65536.0, null, null, null, 1,
            1, 0.25, null, null, 7, null, Map.of(), null);
    assertEquals(
        MegatronLog.training(it, NOW.withNano(0)),
        " [2026-11-23 16:21:47.000000] iteration   123456/  500000 | consumed samples:      3950592 |"
            + " skipped samples:           64 | elapsed time per iteration (ms): 87.2 |"
            + " global batch size:   256 | loss scale: 65536.0 |"
            + " number of skipped iterations:   1 | number of nan iterations:   1 |"
            + " tokens/s: 0.2 | live native pointers: 7 |");
  }

  @Test
  public void validationBetweenDashes() {
    Map<String, Double> losses = Map.of("lm loss", 3.123456);
    List<String> lines =
        MegatronLog.validation(
            new ValidationRecord(1000, 32000, ValidationRecord.Set.TRAINING, losses));
    String line =
        " validation loss at iteration 1000 | lm loss value: 3.123456E+00 |"
            + " lm loss PPL: 2.272478E+01 | ";
    assertEquals(lines, List.of("-".repeat(96), line, "-".repeat(96)));
    assertEquals(lines.get(0).length(), line.length() + 1);
  }

  @Test
  public void endOfRun() {
    Map<String, Double> losses = Map.of("lm loss", 25.0);
    assertEquals(
        MegatronLog.validation(new ValidationRecord(5, 5, ValidationRecord.Set.VALIDATION, losses))
            .get(1),
        " validation loss at iteration 5 on validation set | lm loss value: 2.500000E+01 |"
            + " lm loss PPL: 4.851652E+08 | ");
    assertEquals(
        MegatronLog.validation(new ValidationRecord(5, 5, ValidationRecord.Set.TEST, losses))
            .get(1),
        " validation loss at iteration 5 on test set | lm loss value: 2.500000E+01 |"
            + " lm loss PPL: 4.851652E+08 | ");
  }

  @Test
  public void argumentsSorted() {
    Map<String, Object> arguments = new LinkedHashMap<>();
    arguments.put("num_layers", 2);
    arguments.put("Adam_eps", 1e-8);
    arguments.put("bf16", true);
    arguments.put("adam_beta1", 0.9);
    arguments.put("load", null);
    arguments.put("data_path", List.of("0.5", "a"));
    assertEquals(
        MegatronLog.arguments(arguments),
        List.of(
            "------------------------ arguments ------------------------",
            "  adam_beta1 ...................................... 0.9",
            "  Adam_eps ........................................ 1e-08",
            "  bf16 ............................................ True",
            "  data_path ....................................... ['0.5', 'a']",
            "  load ............................................ None",
            "  num_layers ...................................... 2",
            "-------------------- end of arguments ---------------------"));
  }

  @Test
  public void startLines() {
    assertEquals(
        MegatronLog.targetSizes(32000L, null, 320L),
        List.of(
            " > datasets target sizes (minimum size):",
            "    train:      32000",
            "    validation: None",
            "    test:       320"));
    assertEquals(
        MegatronLog.paddedVocabulary(50257, 50304),
        " > padded vocab (size: 50257) with 47 dummy tokens (new size: 50304)");
    assertEquals(
        MegatronLog.parameters(0, 0, 124475904),
        " > number of parameters on (tensor, pipeline) model parallel rank (0, 0): 124475904");
    assertEquals(
        MegatronLog.memory(0, 2, 1 << 20, 3 << 19, 1 << 21, 1 << 22),
        "[Rank 0] (after 2 iterations) memory (MB) | allocated: 1.00 | max allocated: 1.50 |"
            + " reserved: 2.00 | max reserved: 4.00");
  }

  @Test
  public void anotherLocaleChangesNothing() {
    IterationRecord it = MadeUpRun.iteration(10, 100, 8, new java.util.Random(1));
    String expected = MegatronLog.training(it, NOW);
    Locale before = Locale.getDefault();
    try {
      for (String tag : List.of("de-DE", "ar-EG-u-nu-arab", "tr-TR")) {
        Locale.setDefault(Locale.forLanguageTag(tag));
        assertEquals(MegatronLog.training(it, NOW), expected);
        assertEquals(MegatronLog.parameters(1, 2, 1234567).replaceAll("\\D+", " "), " 1 2 1234567");
      }
    } finally {
      Locale.setDefault(before);
    }
    assertFalse(expected.contains(","));
  }
}
