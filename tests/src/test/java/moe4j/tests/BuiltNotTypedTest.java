package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.testng.annotations.Test;

/**
 * Production code builds its configurations: a command line that it would write and parse itself is
 * checked by nobody before it runs.
 */
public class BuiltNotTypedTest {
  /** A record's flags parsed from words in the code, or words that were just put together. */
  private static final Pattern TYPED =
      Pattern.compile(
          "\\bFlags\\s*\\.parse\\(|\\b\\w*(Config|Family|Run)\\s*\\.parse\\(\\s*[^)\\s]"
              + "|\\.parse\\([^;]*toArray\\(|\\.parse\\(\\s*\"--");

  @Test
  public void noProductionCodeTypesACommandLine() throws IOException {
    List<String> found = new ArrayList<>();
    int files = 0;
    for (Path source : sources()) {
      files++;
      String code = Files.readString(source).replaceAll("(?s)/\\*.*?\\*/|//[^\\n]*", "");
      if (TYPED.matcher(code).find()) {
        found.add(source.getFileName().toString());
      }
    }
    assertTrue(files > 300, files + " files");
    assertEquals(found, List.of());
  }

  @Test
  public void theRuleSeesWhatItIsFor() {
    for (String typed :
        List.of(
            "Flags.parse(GptConfig.class, line)",
            "MoeConfig.parse(\"--fmoefy\")",
            "GptFamily.parse(words)",
            "flags.parse(line.toArray(new String[0]))",
            "Flags.of(A.class).parse(\"--lr\", \"1\")")) {
      assertTrue(TYPED.matcher(typed).find(), typed);
    }
    for (String other : List.of("command.flags().parse(args)", "Split.parse(shares)")) {
      assertFalse(TYPED.matcher(other).find(), other);
    }
  }

  /** All but the package of the flags themselves. */
  private static List<Path> sources() throws IOException {
    Path root = Path.of(System.getProperty("moe4j.root"));
    try (Stream<Path> all = Files.walk(root)) {
      return all.filter(file -> file.toString().endsWith(".java"))
          .filter(file -> file.toString().contains("/src/main/java/"))
          .filter(file -> !file.toString().contains("/moe4j/config/"))
          .sorted()
          .toList();
    }
  }
}
