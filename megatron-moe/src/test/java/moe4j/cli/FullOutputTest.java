package moe4j.cli;

import static org.testng.Assert.assertEquals;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import org.testng.annotations.Test;

/** What cannot be written is told, where a stream of prints keeps it to itself. */
public class FullOutputTest {
  /** Linux's disk on which nothing has room. */
  private static final File FULL = new File("/dev/full");

  @Test
  public void aFullDiskIsAFailure() throws Exception {
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    Process process =
        new ProcessBuilder(
                List.of(java, "-Xmx256m", "-cp", classPath, Main.class.getName(), "--version"))
            .redirectOutput(FULL)
            .start();
    String said = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(process.waitFor(), 1, said);
    assertEquals(said.strip(), "moe4j: standard output cannot be written: No space left on device");
  }
}
