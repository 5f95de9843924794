package moe4j.training;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import moe4j.training.ShutdownSignal.Counting;
import org.testng.annotations.Test;

public class ShutdownSignalTest {
  private static final String SAVES =
      "moe4j: SIGINT: the run ends with this step and saves; a second Ctrl-C (SIGINT) ends it at"
          + " once";

  private final List<String> said = new ArrayList<>();
  private final List<String> ended = new ArrayList<>();
  private long now;

  private ShutdownSignal signal(Counting counting) {
    said.clear();
    ended.clear();
    now = Long.MAX_VALUE;
    return new ShutdownSignal(counting, said::add, ended::add, () -> now);
  }

  @Test
  public void theFirstIsNotedAndTheSecondEnds() {
    ShutdownSignal signal = signal(Counting.EACH);
    signal.begin(true);
    assertNull(signal.received());
    signal.heard("INT");
    assertEquals(signal.received(), "INT");
    assertEquals(said, List.of(SAVES));
    assertEquals(ended, List.of());
    signal.heard("INT");
    assertEquals(said, List.of(SAVES));
    assertEquals(ended, List.of("INT"));
  }

  /** A system that goes down sends it to all, and whoever started us passes it on. */
  @Test
  public void aSecondTermOrHupIsNothingNew() {
    ShutdownSignal signal = signal(Counting.EACH);
    signal.begin(false);
    signal.heard("TERM");
    signal.heard("TERM");
    signal.heard("HUP");
    assertEquals(ended, List.of());
    assertEquals(
        said,
        List.of(
            "moe4j: SIGTERM: the run ends with this step, and nothing of it is kept, as it saves"
                + " nothing; a second Ctrl-C (SIGINT) ends it at once"));
    signal.heard("INT");
    assertEquals(ended, List.of("INT"));
    assertEquals(signal.received(), "TERM");
  }

  @Test
  public void withNothingUnderWayTheFirstEnds() {
    ShutdownSignal before = signal(Counting.NEVER);
    before.heard("HUP");
    assertEquals(ended, List.of("HUP"));
    assertEquals(said.size(), 1);
    ShutdownSignal behind = signal(Counting.EACH);
    behind.begin(true);
    behind.end();
    behind.heard("TERM");
    assertEquals(ended, List.of("TERM"));
  }

  /** The terminal sends it, and the launcher passes it on. */
  @Test
  public void oneThatComesTwiceCountsOnce() {
    ShutdownSignal signal = signal(Counting.NOT_AT_ONCE);
    signal.begin(true);
    signal.heard("INT");
    now += TimeUnit.MILLISECONDS.toNanos(900);
    signal.heard("INT");
    assertEquals(ended, List.of());
    now += TimeUnit.MILLISECONDS.toNanos(200);
    signal.heard("INT");
    assertEquals(ended, List.of("INT"));
    assertEquals(said, List.of(SAVES));
  }

  @Test
  public void whoeverCountsForUsEndsUs() {
    ShutdownSignal signal = signal(Counting.NEVER);
    signal.begin(true);
    for (int i = 0; i < 5; i++) {
      signal.heard("INT");
      now += TimeUnit.MINUTES.toNanos(1);
    }
    assertEquals(ended, List.of());
    assertEquals(said, List.of(SAVES));
  }

  @Test
  public void statusesAreAsShellsHaveThem() {
    assertEquals(ShutdownSignal.status("INT"), 130);
    assertEquals(ShutdownSignal.status("TERM"), 143);
    assertEquals(ShutdownSignal.status("HUP"), 129);
  }
}
