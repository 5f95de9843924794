package moe4j.training.step;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import moe4j.config.LoggingConfig;
import moe4j.model.gpt.GptFamily;
import org.testng.annotations.Test;

public class StepProfileTest {
  private static final String SMALL =
      "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 16"
          + " --micro-batch-size 2 --train-iters 10 --lr 1e-3 --mock-data";

  private final List<String> said = new ArrayList<>();

  private StepProfile profile(int start, int end) {
    return new StepProfile(
        start,
        end,
        () -> {
          said.add("start");
          return new StepProfile.Recording() {
            @Override
            public List<String> stop(int steps) {
              return List.of("table of " + steps);
            }

            @Override
            public void close() {
              said.add("closed");
            }
          };
        },
        said::add);
  }

  private List<String> run(StepProfile profile, int from, int to) {
    said.clear();
    for (int i = from; i < to; i++) {
      profile.beforeStep(i);
      said.add("step");
      profile.afterStep(i + 1);
    }
    profile.close();
    return said;
  }

  @Test
  public void fromStartToBeforeEnd() {
    assertEquals(
        run(profile(1, 3), 0, 4),
        List.of(
            "step",
            "start",
            "step",
            "step",
            "profile of iterations 2 to 3:",
            "table of 2",
            "closed",
            "step"));
  }

  @Test
  public void aRunThatEndsBefore() {
    assertEquals(
        run(profile(0, 9), 0, 1),
        List.of("start", "step", "profile of iterations 1 to 1:", "table of 1", "closed"));
  }

  @Test
  public void aRunThatBeginsWithinOrBehind() {
    assertEquals(
        run(profile(2, 5), 4, 5),
        List.of("start", "step", "profile of iterations 5 to 5:", "table of 1", "closed"));
    assertEquals(run(profile(2, 4), 4, 5), List.of("step"));
  }

  @Test
  public void aStepThatThrewIsNoTable() {
    said.clear();
    StepProfile profile = profile(0, 2);
    profile.beforeStep(0);
    profile.close();
    assertEquals(said, List.of("start", "closed"));
  }

  @Test
  public void onlyOfAGpu() {
    IllegalArgumentException e =
        expectThrows(IllegalArgumentException.class, () -> logging(" --profile"));
    assertEquals(e.getMessage(), "--profile needs --device cuda");
    e = expectThrows(IllegalArgumentException.class, () -> logging(" --profile-step-end 10"));
    assertEquals(e.getMessage(), "--profile-step-start 10 to --profile-step-end 10 are no steps");
  }

  private static LoggingConfig logging(String more) {
    return GptFamily.parse((SMALL + more).split(" ")).logging();
  }

  @Test
  public void withoutTheFlagNothingIsRecorded() {
    LoggingConfig none = logging("");
    assertEquals(run(StepProfile.of(none, said::add), 0, 20).size(), 20);
  }
}
