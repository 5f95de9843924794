package moe4j.console;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.testng.annotations.Test;

public class ProgressLineTest {
  private static final ProgressLine.Count STEPS = new ProgressLine.Count("step", 400, "tok", 1000);

  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final long[] nanos = {0};

  private ProgressLine line(int columns, String title) {
    bytes.reset();
    nanos[0] = 0;
    PrintStream out = columns == 0 ? null : new PrintStream(bytes, true, StandardCharsets.UTF_8);
    return new ProgressLine(new Screen(out, () -> columns), title, STEPS, () -> nanos[0]);
  }

  private String shown() {
    String all = bytes.toString(StandardCharsets.UTF_8);
    bytes.reset();
    return all;
  }

  private void at(ProgressLine line, double second, long done) {
    nanos[0] = Math.round(second * 1e9);
    line.done(done);
  }

  @Test
  public void showsWhereItStandsAndWritesOverItself() {
    ProgressLine line = line(80, "dense");
    at(line, 0, 0);
    assertEquals(shown(), "\rdense | step 0/400 (0%)\033[K");
    line.figure("loss 2.3457");
    at(line, 0.05, 1);
    assertEquals(shown(), "", "too soon");
    at(line, 2, 40);
    assertEquals(
        shown(), "\rdense | step 40/400 (10%) | loss 2.3457 | 20.0k tok/s | 18s left\033[K");
    line.close();
    assertEquals(shown(), "\r\033[K");
  }

  /** Of the last seconds and not of all: a slow first step is soon forgotten. */
  @Test
  public void theRateIsThatOfTheLastSeconds() {
    ProgressLine line = line(80, "");
    at(line, 0, 0);
    at(line, 60, 1);
    for (int step = 2; step <= 200; step++) {
      at(line, 60 + 0.1 * step, step);
    }
    assertEquals(
        shown().replaceAll(".*\r", ""), "step 200/400 (50%) | 10.0k tok/s | 20s left\033[K");
    // An evaluation takes a minute, which is no step's time.
    nanos[0] = 140_000_000_000L;
    line.goOn();
    at(line, 141, 220);
    assertEquals(shown(), "\rstep 220/400 (55%) | 20.0k tok/s | 9s left\033[K");
  }

  @Test
  public void fewColumnsHaveTheSameFigures() {
    for (int columns : new int[] {63, 57, 40, 30, 10}) {
      ProgressLine line = line(columns, "dense");
      line.figure("loss 2.3457");
      at(line, 0, 0);
      shown();
      at(line, 2, 40);
      String text = shown().replaceAll("\r|\033\\[K", "");
      assertTrue(text.length() < columns, text);
      assertEquals(
          text,
          switch (columns) {
            case 63 -> "step 40/400 (10%) | loss 2.3457 | 20.0k tok/s | 18s left";
            case 57 -> "step 40/400 (10%) | loss 2.3457 | 20.0k tok/s | 18s left";
            case 40 -> "40/400 loss 2.3457 20.0k tok/s 18s";
            case 30 -> "40/400 loss 2.3457 20.0k/s 18s".substring(0, 29);
            default -> "40/400 lo";
          });
    }
  }

  @Test
  public void awayFromATerminalItIsSilent() {
    try (ProgressLine line = line(0, "dense")) {
      at(line, 0, 0);
      at(line, 1, 400);
    }
    assertEquals(shown(), "");
  }

  @Test
  public void whatIsPrintedStandsAboveIt() {
    PrintStream outBefore = System.out;
    PrintStream errBefore = System.err;
    PrintStream both = new PrintStream(bytes, true, StandardCharsets.UTF_8);
    System.setOut(both);
    System.setErr(both);
    Screen screen = new Screen(both, () -> 80);
    try (Screen.PutUp up = screen.putUp()) {
      bytes.reset();
      screen.show("line");
      assertEquals(shown(), "\rline\033[K");
      System.err.println("a warning");
      String erased = "\r\033[K";
      assertTrue(shown().matches("(?s)" + erased.replace("[", "\\[") + "a warning\n\rline.*"));
      System.out.print("half ");
      assertEquals(shown(), erased + "half ");
      screen.show("next");
      assertEquals(shown(), "", "nothing is drawn over a line that is not whole");
      System.out.print("a line\n");
      assertEquals(shown(), "a line\n\rnext\033[K");
      screen.hide();
      System.out.print("end\n");
      assertEquals(shown(), erased + "end\n");
    } finally {
      System.setOut(outBefore);
      System.setErr(errBefore);
    }
  }

  @Test
  public void whoWantsNoneHasNone() {
    assertTrue(Screen.wanted(Map.of("TERM", "xterm")));
    assertTrue(Screen.wanted(Map.of("TERM", "xterm", "NO_COLOR", "", "CI", "")));
    assertFalse(Screen.wanted(Map.of()));
    assertFalse(Screen.wanted(Map.of("TERM", "dumb")));
    assertFalse(Screen.wanted(Map.of("TERM", "xterm", "NO_COLOR", "1")));
    assertFalse(Screen.wanted(Map.of("TERM", "xterm", "CI", "true")));
  }

  @Test
  public void figures() {
    assertEquals(ProgressLine.brief(0), "0.00");
    assertEquals(ProgressLine.brief(999.4), "999");
    assertEquals(ProgressLine.brief(999.6), "1.00k");
    assertEquals(ProgressLine.brief(12_345), "12.3k");
    assertEquals(ProgressLine.brief(3_400_000), "3.40M");
    assertEquals(ProgressLine.duration(41.6), "42s");
    assertEquals(ProgressLine.duration(185), "3m05s");
    assertEquals(ProgressLine.duration(7450), "2h04m");
    assertEquals(ProgressLine.duration(200_000), "2d07h");
  }
}
