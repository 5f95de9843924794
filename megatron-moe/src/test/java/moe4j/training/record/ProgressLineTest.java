package moe4j.training.record;

import static org.testng.Assert.assertEquals;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.testng.annotations.Test;

public class ProgressLineTest {

  @Test
  public void showsTheTimeLeftAndWritesOverItself() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    long[] nanos = {0};
    try (ProgressLine line =
        new ProgressLine(
            "dense", new PrintStream(bytes, true, StandardCharsets.UTF_8), () -> nanos[0])) {
      line.update(0, 400, 5.54518, 0);
      nanos[0] += 50_000_000;
      line.update(1, 400, 5.5, 9000);
      nanos[0] += 39_950_000_000L;
      line.update(100, 400, 2.34567, 9731.6);
    }
    String first = "dense  step 0/400 (0%)  loss 5.5452  0 tokens/s  -- left";
    String second = "dense  step 100/400 (25%)  loss 2.3457  9,732 tokens/s  2 min 00 s left";
    assertEquals(
        bytes.toString(StandardCharsets.UTF_8),
        "\r" + first + "\r" + second + "\r" + " ".repeat(second.length()) + "\r");
  }

  /** What was cleared comes back, with the next step or without; what stands there stays. */
  @Test
  public void comesBackAfterALogLine() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    ProgressLine line =
        new ProgressLine("dense", new PrintStream(bytes, true, StandardCharsets.UTF_8), () -> 0);
    line.redraw();
    line.update(1, 400, 5.54518, 100);
    line.redraw();
    String shown = "\rdense  step 1/400 (0%)  loss 5.5452  100 tokens/s  -- left";
    String cleared = "\r" + " ".repeat(shown.length() - 1) + "\r";
    assertEquals(bytes.toString(StandardCharsets.UTF_8), shown);
    line.clear();
    line.clear();
    line.redraw();
    assertEquals(bytes.toString(StandardCharsets.UTF_8), shown + cleared + shown);
    line.clear();
    // Too soon for another figure.
    line.update(2, 400, 5.4, 100);
    assertEquals(bytes.toString(StandardCharsets.UTF_8), (shown + cleared).repeat(2) + shown);
  }

  @Test
  public void awayFromATerminalItIsSilent() {
    try (ProgressLine line = new ProgressLine("dense", null, System::nanoTime)) {
      line.update(1, 2, 1.0, 1.0);
      line.clear();
      line.redraw();
    }
  }

  @Test
  public void durations() {
    assertEquals(ProgressLine.duration(41.6), "42 s");
    assertEquals(ProgressLine.duration(185), "3 min 05 s");
    assertEquals(ProgressLine.duration(3599.7), "1 h 00 min");
    assertEquals(ProgressLine.duration(7450), "2 h 04 min");
  }
}
