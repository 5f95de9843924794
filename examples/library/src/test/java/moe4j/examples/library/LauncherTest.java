package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.testng.SkipException;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/**
 * How {@code ./moe4j} finds a user's classes: a copy of it, that has been built, and a fake Java.
 */
public class LauncherTest {
  private Path home;

  @BeforeMethod
  public void build() throws IOException {
    if (!System.getProperty("os.name").equals("Linux")) {
      throw new SkipException("the launcher is tested on Linux");
    }
    home = Files.createTempDirectory("moe4j-launcher");
    Path launcher = home.resolve("moe4j");
    Files.copy(Path.of(System.getProperty("moe4j.root"), "moe4j"), launcher);
    Path target = Files.createDirectories(home.resolve("application/target"));
    Files.writeString(target.resolve("classpath"), "/ours/a.jar:/ours/b.jar");
    Files.writeString(target.resolve("classpath.flags"), "");
    Path java = Files.createDirectories(home.resolve("bin")).resolve("java");
    Files.writeString(java, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
    assertTrue(java.toFile().setExecutable(true));
  }

  @AfterMethod(alwaysRun = true)
  public void delete() throws IOException {
    try (Stream<Path> files = Files.walk(home)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  /** The class path that Java would get, and what stands behind it. */
  private List<String> launched(String classes) throws IOException, InterruptedException {
    List<String> words = words(classes);
    return words.subList(words.indexOf("-cp") + 1, words.size());
  }

  /** All that the launcher prints, and what Java would get. */
  private List<String> words(String classes) throws IOException, InterruptedException {
    ProcessBuilder builder =
        new ProcessBuilder("bash", home.resolve("moe4j").toString(), "a command", "--flag")
            .redirectErrorStream(true);
    builder.environment().put("PATH", home.resolve("bin") + ":" + System.getenv("PATH"));
    builder.environment().put("MOE4J_MAVEN_FLAGS", "");
    builder.environment().remove("MOE4J_CLASSPATH");
    if (classes != null) {
      builder.environment().put("MOE4J_CLASSPATH", classes);
    }
    Process process = builder.start();
    List<String> words =
        new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8)
            .lines()
            .toList();
    assertEquals(process.waitFor(), 0, String.join("\n", words));
    return words;
  }

  @Test
  public void aUsersClassesStandBehindOurs() throws IOException, InterruptedException {
    assertEquals(
        launched("my classes:/their/c.jar"),
        List.of(
            "/ours/a.jar:/ours/b.jar:my classes:/their/c.jar",
            "moe4j.cli.Main",
            "a command",
            "--flag"));
  }

  @Test
  public void anEntryThatIsNotThereIsNamed() throws IOException, InterruptedException {
    List<String> words = words(home + ":not/built:" + home + "/*:");
    assertEquals(
        words.get(0),
        "moe4j: MOE4J_CLASSPATH names not/built, and there is no such file or directory here");
    assertEquals(words.stream().filter(word -> word.startsWith("moe4j: ")).count(), 1);
  }

  @Test
  public void withoutThemItIsOursAlone() throws IOException, InterruptedException {
    for (String none : new String[] {null, ""}) {
      assertEquals(launched(none).get(0), "/ours/a.jar:/ours/b.jar");
    }
  }
}
