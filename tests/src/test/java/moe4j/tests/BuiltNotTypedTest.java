package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
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

  /** Words that are parsed by flags, whatever those are called. */
  private static final Pattern PARSED = Pattern.compile("(\\)|\\b[a-z]\\w*)\\s*\\.parse\\(");

  /** Who parses words, which are a caller's: the commands, and what is for programs like them. */
  private static final Set<String> PARSERS =
      Set.of("CommandLines.java", "GptFamily.java", "MoeConfig.java", "TrainEnwik8.java");

  @Test
  public void noProductionCodeTypesACommandLine() throws IOException {
    Set<String> found = new TreeSet<>();
    Set<String> parsers = new TreeSet<>();
    int files = 0;
    for (Path source : sources()) {
      files++;
      String name = source.getFileName().toString();
      String code = Files.readString(source).replaceAll("(?s)/\\*.*?\\*/|//[^\\n]*", "");
      if (TYPED.matcher(code).find()) {
        found.add(name);
      }
      if (code.matches("(?s).*\\b(Flags|flags)\\b.*") && PARSED.matcher(code).find()) {
        parsers.add(name);
      }
    }
    assertTrue(files > 300, files + " files");
    assertEquals(found.toString(), "[]", "who types a command line");
    assertEquals(
        parsers.toString(),
        new TreeSet<>(PARSERS).toString(),
        "who parses words: a builder does without");
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
