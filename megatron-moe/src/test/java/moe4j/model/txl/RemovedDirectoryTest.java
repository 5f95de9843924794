package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import moe4j.record.MetricsReader;
import moe4j.record.RunEnd;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import moe4j.training.run.SavedRun;
import org.testng.annotations.Test;

/** A run's directory is removed while it trains: nothing that was recorded is lost. */
public class RemovedDirectoryTest {
  private final Random random = Seeds.random(RemovedDirectoryTest.class);

  @Test
  public void theRunGoesOnAndItsRecordIsWhole() throws IOException {
    try (TempDir folder = new TempDir()) {
      Path text = folder.text("text", random, 900);
      Path work = folder.path("work");
      TransformerXlRun run =
          SmallRun.parse(
              SmallRun.SHAPE
                  + " --vocabulary bytes --max-step 20 --eval-interval 6 --save-interval 7"
                  + " --log-interval 1",
              "--data-file",
              text,
              "--split-bytes",
              "260,160,160",
              "--tensorboard-dir",
              work.resolve("events"),
              "--work-dir",
              work);
      SmallRun small =
          SmallRun.of(
              run,
              each -> {
                if (each.last() == 10) {
                  assertTrue(Files.exists(work.resolve("iter_0000007")));
                  assertTrue(Files.exists(work.resolve("best")));
                  delete(work);
                }
              });
      assertEquals(small.end, RunEnd.COMPLETE);
      List<Integer> steps =
          MetricsReader.read(work).train().stream().map(point -> point.at().step()).toList();
      assertEquals(steps, Stream.iterate(1, step -> step + 1).limit(20).toList());
      assertFalse(Files.exists(work.resolve("iter_0000007")));
      SavedRun saved = SavedRun.in(work).orElseThrow();
      assertEquals(saved.newest().orElseThrow().iteration(), 20);
      assertTrue(saved.best().isPresent(), "the best of those behind the removal");
      assertEquals(saved.state(), SavedRun.State.DONE);
      try (Stream<Path> events = Files.list(work.resolve("events"))) {
        assertEquals(events.count(), 1);
      }
    }
  }

  private static void delete(Path directory) {
    try (Stream<Path> all = Files.walk(directory)) {
      for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(path);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
