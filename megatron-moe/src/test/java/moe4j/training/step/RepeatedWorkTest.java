package moe4j.training.step;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import org.testng.annotations.Test;

/** Work that is done as it is; what is captured is checked on a GPU. */
public class RepeatedWorkTest {
  private final List<String> done = new ArrayList<>();

  @Test
  public void eagerWorkIsDoneEachTime() {
    done.clear();
    try (RepeatedWork work = RepeatedWork.eager()) {
      RepeatedWork.Piece step = work.piece("step", () -> done.add("step"), () -> done.add("undo"));
      RepeatedWork.Piece update = work.piece("update", () -> done.add("update"), () -> {});
      List<String> expected = new ArrayList<>();
      for (int i = 0; i < 2 * RepeatedWork.WARM_UPS; i++) {
        step.run();
        update.run();
        work.settle();
        expected.addAll(List.of("step", "update"));
      }
      assertEquals(done, expected);
      assertFalse(step.captured() || update.captured());
    }
    assertEquals(done.size(), 4 * RepeatedWork.WARM_UPS);
  }

  @Test
  public void whatABodyThrowsComesThroughAndThePieceStays() {
    done.clear();
    try (RepeatedWork work = RepeatedWork.eager()) {
      RepeatedWork.Piece piece =
          work.piece(
              "step",
              () -> {
                done.add("step");
                if (done.size() == 1) {
                  throw new IllegalStateException("once");
                }
              },
              () -> done.add("undo"));
      assertEquals(expectThrows(IllegalStateException.class, piece::run).getMessage(), "once");
      piece.run();
      assertEquals(done, List.of("step", "step"));
    }
  }
}
