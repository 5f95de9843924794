package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import moe4j.record.RunEnd;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * A run that is stopped in the middle of an epoch, or dies there, and is taken up again is bit for
 * bit the run to which nothing happened: losses, weights and what is remembered.
 */
public class ResumedRunTest {
  private static final int STEPS = 25;

  private final Random random = Seeds.random(ResumedRunTest.class);
  private TempDir folder;
  private Path text;

  @BeforeClass
  public void makeText() throws IOException {
    folder = new TempDir();
    text = folder.text("text", random, 900);
  }

  @AfterClass
  public void delete() throws IOException {
    folder.close();
  }

  /** An epoch has 11 segments, the last of them short. */
  private Object[] data(Object... more) {
    List<Object> all =
        new ArrayList<>(List.of("--data-file", text, "--split-bytes", "260,160,160"));
    all.addAll(Arrays.asList(more));
    return all.toArray();
  }

  private static String flags(String more) {
    return SmallRun.SHAPE + " --vocabulary bytes --max-step 25 --eval-interval 6" + more;
  }

  @DataProvider
  public Object[][] kinds() {
    String experts = SmallRun.EXPERTS + " --dropout 0.1 --dropatt 0.1";
    return new Object[][] {
      {"dense", ""},
      {"dropout", " --dropout 0.1 --dropatt 0.1 --ext-len 2"},
      {"experts", experts},
      {"bf16", experts + " --bf16"},
      {"no-memory", " --mem-len 0 --pre-lnorm"},
    };
  }

  private static void assertSame(
      Map<String, float[]> actual, Map<String, float[]> expected, String what) {
    assertEquals(actual.keySet(), expected.keySet());
    assertFalse(expected.isEmpty() && what.equals("weight"));
    expected.forEach((name, values) -> assertEquals(actual.get(name), values, what + " " + name));
  }

  private static void assertSame(SmallRun actual, SmallRun expected, int from) {
    assertEquals(actual.losses, new TreeMap<>(expected.losses).tailMap(from, false));
    assertEquals(actual.validation, new TreeMap<>(expected.validation).tailMap(from, false));
    assertSame(actual.weights, expected.weights, "weight");
    assertSame(actual.memories, expected.memories, "memory");
    assertEquals(actual.test, expected.test);
  }

  @Test(dataProvider = "kinds")
  public void stoppedAndTakenUpAgain(String name, String more) throws IOException {
    String flags = flags(more);
    Path work = folder.path(name);
    SmallRun whole = SmallRun.of(SmallRun.parse(flags, data("--work-dir", folder.path(name + 1))));
    SmallRun first =
        SmallRun.of(SmallRun.parse(flags + " --exit-interval 14", data("--work-dir", work)));
    assertEquals(first.end, RunEnd.STOPPED);
    assertEquals(first.losses, new TreeMap<>(whole.losses).headMap(14, true));
    SmallRun second = SmallRun.of(SmallRun.parse(flags + " --restart", data("--work-dir", work)));
    assertEquals(second.end, RunEnd.COMPLETE);
    assertEquals(second.last(), STEPS);
    assertEquals(second.losses.size(), STEPS - 14);
    assertSame(second, whole, 14);
  }

  /** Dies two steps behind an evaluation that was the best, and seven behind what was saved. */
  @Test
  public void diedAndTakenUpAgain() throws IOException {
    String flags = flags(SmallRun.EXPERTS + " --save-interval 13 --eval-interval 6");
    Path work = folder.path("died");
    SmallRun whole = SmallRun.of(SmallRun.parse(flags, data("--work-dir", folder.path("lived"))));
    TransformerXlRun run = SmallRun.parse(flags, data("--work-dir", work));
    expectThrows(
        IllegalStateException.class,
        () ->
            SmallRun.of(
                run,
                each -> {
                  if (each.last() == 20) {
                    throw new IllegalStateException("killed");
                  }
                }));
    SmallRun second = SmallRun.of(SmallRun.parse(flags + " --restart", data("--work-dir", work)));
    assertSame(second, whole, 13);
    // From another directory, which stays as it is.
    Path other = folder.path("other");
    Map<String, Long> before = sizes(work);
    SmallRun third =
        SmallRun.of(
            SmallRun.parse(
                flags + " --max-step 31 --restart",
                data("--work-dir", other, "--restart-dir", work)));
    assertEquals(third.losses.keySet().iterator().next(), Integer.valueOf(STEPS + 1));
    assertEquals(third.last(), 31);
    assertEquals(sizes(work), before);
    assertTrue(Files.exists(other.resolve("log.txt")));
  }

  private static Map<String, Long> sizes(Path directory) throws IOException {
    Map<String, Long> sizes = new TreeMap<>();
    try (var files = Files.walk(directory)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        sizes.put(directory.relativize(file).toString(), Files.size(file));
      }
    }
    return sizes;
  }

  @Test
  public void whatCannotGoOnIsRefused() throws IOException {
    Path work = folder.path("refused");
    String flags = flags(" --exit-interval 5");
    SmallRun.of(SmallRun.parse(flags, data("--work-dir", work)));
    String occupied = refused(flags, "--work-dir", work);
    assertTrue(
        occupied.startsWith(
            "--work-dir %s holds the run 'refused', at iteration 5".formatted(work)),
        occupied);
    assertTrue(
        occupied.contains(": --work-dir %s --restart goes on with it".formatted(work)), occupied);
    String checkpoint = "checkpoint %s ".formatted(work.resolve("iter_0000005"));
    assertEquals(
        refused(flags + " --restart --batch-size 5", "--work-dir", work),
        checkpoint + "is of a run with --batch-size 4, and this one has 5");
    assertEquals(
        refused(flags + " --restart --mem-len 4", "--work-dir", work),
        checkpoint + "was made with --mem-len 9, and this model is made with --mem-len 4");
    assertEquals(
        refused(flags + " --restart --vocabulary upstream", "--work-dir", work),
        checkpoint + "is of a run with --vocabulary bytes, and this one has upstream");
    String other = refused(flags + " --restart --split-bytes 300,160,160", "--work-dir", work);
    assertTrue(other.startsWith(checkpoint + "is of a run with the data 260,160,160-"), other);
    assertTrue(other.contains(", and this one has 300,160,160-"), other);
    assertTrue(other.endsWith("or --override-data to go on at that place all the same"), other);
    Path nothing = folder.path("nothing");
    assertEquals(
        refused(flags + " --restart", "--work-dir", nothing),
        "--restart: --work-dir %s holds no checkpoint".formatted(nothing));
    assertEquals(
        refused(flags + " --restart", "--work-dir", work, "--restart-dir", nothing),
        "--restart: --restart-dir %s holds no checkpoint".formatted(nothing));
    assertFalse(Files.exists(nothing), "something was made");
    // Without memories no tensor's shape tells.
    Path forgetful = folder.path("forgetful");
    SmallRun.of(SmallRun.parse(flags + " --mem-len 0", data("--work-dir", forgetful)));
    assertEquals(
        refused(flags + " --mem-len 0 --restart --batch-size 2", "--work-dir", forgetful),
        "checkpoint %s is of a run with --batch-size 4, and this one has 2"
            .formatted(forgetful.resolve("iter_0000005")));
  }

  private String refused(String flags, Object... more) {
    // Of a flag that stands twice the last counts.
    List<Object> words = new ArrayList<>(Arrays.asList(data()));
    words.addAll(Arrays.asList(flags.split(" ")));
    words.addAll(Arrays.asList(more));
    Console console = Console.command("pretrain-txl", words.toArray());
    String sentence = console.refusal(console.status() == 1 ? 1 : 2);
    String prefix = "moe4j pretrain-txl: ";
    assertTrue(sentence.startsWith(prefix), sentence);
    return sentence.substring(prefix.length());
  }
}
