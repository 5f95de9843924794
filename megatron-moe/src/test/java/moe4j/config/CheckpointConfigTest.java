package moe4j.config;

import static org.testng.Assert.assertEquals;

import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class CheckpointConfigTest {
  @Test
  public void nothingIsSavedOrLoadedUnasked() {
    assertEquals(
        Flags.parse(CheckpointConfig.class),
        new CheckpointConfig(
            null, null, null, -1, false, false, false, false, false, false, false, false, false));
    assertEquals(
        Flags.parse(
            CheckpointConfig.class,
            Refusals.words("--save a --save-interval 5 --most-recent-k -1 --load b --finetune")),
        new CheckpointConfig(
            "a", "b", 5, -1, false, false, false, true, false, false, false, false, false));
  }

  @DataProvider
  public Object[][] impossible() {
    return new Object[][] {
      {"--save a --save-interval 0", "--save-interval 0 is not positive"},
      {
        "--save a --override-data",
        "--override-data goes on from a checkpoint with other data: --load, or --auto-resume, says"
            + " from which"
      },
      {"--most-recent-k 0", "--most-recent-k 0 is neither -1 nor positive"},
      {"--most-recent-k -2", "--most-recent-k -2 is neither -1 nor positive"},
      {"--most-recent-k 2", "--most-recent-k needs --save"},
      {"--no-save-optim --load a", "--no-save-optim needs --save"},
      {"--finetune", "--finetune needs --load"},
      {"--no-load-optim --save a", "--no-load-optim needs --load"},
      {"--exit-on-missing-checkpoint", "--exit-on-missing-checkpoint needs --load"},
      {"--auto-resume --load a", "--auto-resume needs --save"},
      {"--overwrite", "--overwrite needs --save"},
      {
        "--save a --auto-resume --overwrite",
        "--auto-resume goes on with what --save holds, and --overwrite starts anew: only one of"
            + " them can be"
      },
    };
  }

  @Test(dataProvider = "impossible")
  public void whatCannotBeIsRefused(String flags, String sentence) {
    assertEquals(Refusals.of(CheckpointConfig.class, flags), sentence);
  }
}
