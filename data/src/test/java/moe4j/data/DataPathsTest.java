package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

public class DataPathsTest {
  private static final Blend AB = new Blend(List.of("a", "b"), List.of(1.0, 2.0));

  private static DataPaths dataPath(String split, String... words) {
    return new DataPaths(List.of(words), null, null, null, null, null, false, split);
  }

  @Test
  public void readsEveryForm() throws IOException {
    DataSource.Shared shared = (DataSource.Shared) dataPath(null, "1", "a", "2", "b").source();
    assertEquals(shared.blend(), AB);
    assertEquals(shared.split().text(), "969, 30, 1");
    assertEquals(((DataSource.Shared) dataPath("8,1,1", "a").source()).split().text(), "8,1,1");
    assertEquals(
        new DataPaths(null, null, null, null, null, null, true, null).source(),
        new DataSource.Mock());
    assertEquals(
        new DataPaths(null, null, null, null, null, null, true, "99,1,0").source(),
        new DataSource.Mock());
    assertEquals(
        new DataPaths(
                null, null, List.of("1", "a", "2", "b"), List.of("c"), null, null, false, null)
            .source(),
        new DataSource.PerPart(Map.of(Part.TRAIN, AB, Part.VALID, new Blend(List.of("c"), null))));
    try (TempDir dir = new TempDir()) {
      Path file = dir.path("args");
      Files.writeString(file, " 1 a\n2\tb\n");
      assertEquals(
          ((DataSource.Shared)
                  new DataPaths(null, file, null, null, null, null, false, "1").source())
              .blend(),
          AB);
      Files.writeString(
          file, "{\"train\": \"1 a 2 b\", \"valid\": [\"1\", \"a\", 2, \"b\"], \"test\": null}");
      assertEquals(
          new DataPaths(null, null, null, null, null, file, false, null).source(),
          new DataSource.PerPart(Map.of(Part.TRAIN, AB, Part.VALID, AB)));
    }
  }

  @Test
  public void refusesContradictions() throws IOException {
    assertSentence(
        new DataPaths(null, null, null, null, null, null, false, null),
        "no data is named: give --data-path PREFIX, or --mock-data to try without");
    assertSentence(
        new DataPaths(List.of("a"), null, List.of("b"), null, List.of("c"), null, true, null),
        "data is named in 3 ways: --data-path and --train-data-path, --test-data-path and"
            + " --mock-data; one is enough");
    assertSentence(
        new DataPaths(null, null, List.of("b"), null, null, null, false, "1,1,1"),
        "--split shares one corpus out, but --train-data-path leaves nothing to share");
    assertSentence(dataPath(null, "1", "a", "x", "b"), "--data-path has an even number of words");
    try (TempDir dir = new TempDir()) {
      Path file = dir.path("args");
      DataPaths args = new DataPaths(null, file, null, null, null, null, false, null);
      DataPaths json = new DataPaths(null, null, null, null, null, file, false, null);
      assertSentence(args, "there is no file " + file + ", which --data-args-path names");
      Files.writeString(file, " \n");
      assertSentence(args, "--data-args-path names no dataset");
      assertSentence(json, "--per-split-data-args-path " + file + ": train must be a list");
      Files.writeString(file, "{");
      assertSentence(json, "--per-split-data-args-path " + file + " is not JSON: ");
      Files.writeString(file, "{\"train\": [\"0\", \"a\"], \"valid\": null, \"test\": null}");
      assertSentence(json, "train of --per-split-data-args-path " + file + " has the weight 0.0");
    }
  }

  private static void assertSentence(DataPaths paths, String start) {
    String message = expectThrows(Exception.class, paths::source).getMessage();
    assertTrue(message.startsWith(start), message);
  }
}
