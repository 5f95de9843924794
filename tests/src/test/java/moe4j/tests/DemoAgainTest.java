package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

/** A demo is taken up where it was stopped, and another one is left alone. */
public class DemoAgainTest {
  private final Random random = Seeds.random(DemoAgainTest.class);

  private Path jars(Workspace workspace) throws IOException {
    Path jars = Files.createDirectories(workspace.path("jars"));
    try (ZipOutputStream zip =
        new ZipOutputStream(Files.newOutputStream(jars.resolve("made-up-sources.jar")))) {
      for (int file = 0; file < 40; file++) {
        zip.putNextEntry(new ZipEntry("a/File" + file + ".java"));
        StringBuilder text = new StringBuilder("package a;\n");
        for (int line = 0; line < 60; line++) {
          text.append("int x").append(random.nextInt(100)).append(" = 1;\n");
        }
        zip.write(text.toString().getBytes(StandardCharsets.UTF_8));
      }
    }
    return jars;
  }

  @Test
  public void aDemoIsTakenUpAndNotReplaced() throws IOException {
    try (Workspace workspace = new Workspace()) {
      Path jars = jars(workspace);
      Path demo = workspace.path("demo");
      String flags = "demo --train-iters 2 --num-experts 2 --corpus";
      Cli.Result first = Cli.run(flags, jars, "--output-dir", demo).ok();
      assertTrue(first.out().contains("report: "), first.out());
      byte[] dense = manifest(demo, "dense", 2);
      byte[] experts = manifest(demo, "experts", 2);

      // Finished: the report alone is made, anew.
      Files.delete(demo.resolve("report.html"));
      Cli.Result again = Cli.run(flags, jars, "--output-dir", demo).ok();
      assertTrue(again.out().contains("both models in"), again.out());
      assertTrue(Files.exists(demo.resolve("report.html")));
      assertFalse(again.out().contains("number of parameters"), again.out());
      assertEquals(manifest(demo, "dense", 2), dense);
      assertEquals(manifest(demo, "experts", 2), experts);

      // Killed in the second model, before its first checkpoint.
      Workspace.delete(demo.resolve("experts"));
      Cli.Result half = Cli.run(flags, jars, "--output-dir", demo).ok();
      assertTrue(half.out().contains("dense is trained already"), half.out());
      assertEquals(manifest(demo, "dense", 2), dense);
      assertTrue(Files.exists(demo.resolve("experts/iter_0000002")));

      // Another demo.
      Cli.Result other = Cli.run(flags, jars, "--output-dir", demo, "--seed", 5);
      assertEquals(other.status(), 2, other.out());
      assertTrue(
          other
              .err()
              .contains(
                  "--output-dir %s holds a demo with --seed 1234 and not 5: ".formatted(demo)),
          other.err());
      assertEquals(manifest(demo, "dense", 2), dense);
    }
  }

  private static byte[] manifest(Path demo, String run, int steps) throws IOException {
    return Files.readAllBytes(
        demo.resolve(run).resolve("iter_000000%d/manifest.json".formatted(steps)));
  }
}
