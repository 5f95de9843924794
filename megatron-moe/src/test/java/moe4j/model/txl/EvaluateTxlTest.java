package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** evaluate-txl: the best model of a run, on the run's data, with the run's lengths and others. */
public class EvaluateTxlTest {
  private static final Pattern RESULT =
      Pattern.compile(
          "\\| valid loss +(\\S+) \\| valid bpc +(\\S+) \\| test loss +(\\S+) \\| test bpc +(\\S+) ");

  private final Random random = Seeds.random(EvaluateTxlTest.class);

  @DataProvider
  public Object[][] kinds() {
    return new Object[][] {{""}, {SmallRun.EXPERTS}, {" --adaptive --cutoffs 4 8 --div-val 2"}};
  }

  /** Where nothing else is typed, evaluations are the run's own, and the losses those it said. */
  @Test(dataProvider = "kinds")
  public void asTheRunSaid(String more) throws IOException {
    try (TempDir folder = new TempDir()) {
      Path work = folder.path("run");
      Path text = folder.text("text", random, 1200);
      String split = " --split-bytes 600,300,300";
      TransformerXlRun run =
          SmallRun.parse(
              SmallRun.SHAPE
                  + more
                  + " --max-step 10 --eval-interval 5 --max-eval-steps 20"
                  + split,
              "--data-file",
              text,
              "--work-dir",
              work);
      SmallRun small = SmallRun.of(run);
      double best = small.validation.values().stream().mapToDouble(v -> v).min().getAsDouble();
      // Segments of 6 behind 9: evaluations in segments of 4 see 11 before.
      String typed = split + " --batch-size 2 --tgt-len 4 --mem-len 11 --max-eval-steps 20";
      Matcher plain = result(Console.command("evaluate --load", work).ok());
      for (Matcher same : List.of(plain, evaluate(work, text, typed))) {
        assertEquals(Double.parseDouble(same.group(2)), best / Math.log(2), 2e-5);
        assertEquals(Double.parseDouble(same.group(4)), small.test / Math.log(2), 2e-5);
      }
      Matcher other =
          evaluate(work, text, split + " --tgt-len 3 --mem-len 30 --clamp-len 12 --same-length");
      assertTrue(Math.abs(Double.parseDouble(other.group(2)) - best / Math.log(2)) > 2e-5);
    }
  }

  private static Matcher evaluate(Path work, Path text, String flags) {
    return result(
        Console.command("evaluate-txl" + flags + " --data-file", text, "--load", work).ok());
  }

  private static Matcher result(Console console) {
    Matcher matcher = RESULT.matcher(console.out());
    assertTrue(matcher.find(), console.out());
    return matcher;
  }

  /** What cannot be evaluated is refused in one sentence. */
  @Test
  public void whatIsRefused() throws IOException {
    try (TempDir folder = new TempDir()) {
      Path work = folder.path("run");
      Path text = folder.text("text", random, 1200);
      String split = " --split-bytes 600,300,300";
      SmallRun.of(
          SmallRun.parse(
              SmallRun.SHAPE + " --max-step 2" + split, "--data-file", text, "--work-dir", work));
      String command = "evaluate-txl" + split + " --data-file";
      assertTrue(
          Console.command(command, text, "--load", work, "--same-length", "--mem-len", 0)
              .refusal(2)
              .contains("--mem-len 0"));
      assertTrue(
          Console.command(command, text, "--load", work, "--tgt-len", 15)
              .refusal(2)
              .contains(
                  "--tgt-len 15 leaves no memory of the training's --mem-len 9 + --tgt-len 6"));
      assertTrue(
          Console.command(command, text, "--load", work, "--vocabulary", "bytes")
              .refusal(2)
              .contains("--vocabulary bytes have 256"));
      assertTrue(
          Console.command(command, text, "--load", folder.path("none"))
              .refusal(1)
              .contains("holds no checkpoint"));
      assertTrue(
          Console.command(command, text, "--load", work, "--tgt-len", 0)
              .refusal(2)
              .contains("--tgt-len 0"));
    }
  }
}
