package moe4j.tests;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import moe4j.tests.Sources.Parameters;
import moe4j.tests.Sources.Source;
import org.testng.annotations.Test;

/** How long a production file, and a constructor's list of parameters, may be. */
public class SizesTest {
  private static final int LINES = 400;
  private static final int PARAMETERS = 8;

  /** A comment of a longer file that says why it is longer. */
  private static final Pattern REASON = Pattern.compile("(//|\\*) .*\\bover 400 lines\\b");

  /**
   * Constructors and records that take more all the same, each with its reason. A record of flags
   * is no exception: each of its components has a name where it is set.
   */
  private static final Map<String, String> EXCEPTIONS =
      Map.of(
          "moe4j.checkpoint.CheckpointInfo", "its components are a manifest's keys",
          "moe4j.checkpoint.LockOwner", "its components are the keys of run.owner",
          "moe4j.record.IterationRecord", "its components are the keys of a line of metrics.jsonl",
          "moe4j.parallel.Groups", "each component is one of a rank's groups, all of one type",
          "moe4j.parallel.WorldEnvironment", "each component is an environment variable's value");

  @Test
  public void aLongFileSaysWhyItIsLong() throws IOException {
    Map<String, String> faults = new TreeMap<>();
    for (Source source : Sources.all()) {
      long lines = source.text().lines().count();
      if (lines > LINES && !REASON.matcher(source.text()).find()) {
        faults.put(
            source.name(),
            "%s has %d lines: more than %d need a comment \"over 400 lines ...\" that says why"
                .formatted(source.path(), lines, LINES));
      }
    }
    LayersTest.assertExcepted(faults, Set.of());
  }

  @Test
  public void aConstructorTakesFewParameters() throws IOException {
    Map<String, String> faults = new TreeMap<>();
    for (Source source : Sources.all()) {
      for (Parameters constructor : source.constructors()) {
        if (constructor.count() > PARAMETERS && !constructor.flags()) {
          String name = source.packageName() + "." + constructor.type();
          faults.put(
              name,
              "%s: %s is made of %d parameters: more than %d belong in records or a builder"
                  .formatted(source.path(), constructor.type(), constructor.count(), PARAMETERS));
        }
      }
    }
    LayersTest.assertExcepted(faults, EXCEPTIONS.keySet());
  }

  @Test
  public void thereAreSourcesToLookAt() throws IOException {
    assertEquals(Sources.all().size() > 300, true, "production files: " + Sources.all().size());
  }
}
