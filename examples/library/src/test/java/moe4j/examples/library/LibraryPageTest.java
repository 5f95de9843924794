package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.testng.annotations.Test;

/** What docs/library.md quotes is what is compiled and tested here. */
public class LibraryPageTest {
  private static final Path ROOT = Path.of(System.getProperty("moe4j.root"));
  private static final Pattern BLOCK = Pattern.compile("(?sm)^```(\\w*)\\R(.*?)^```$");

  private static List<String> blocks(String language) throws IOException {
    List<String> blocks = new ArrayList<>();
    Matcher matcher = BLOCK.matcher(Files.readString(ROOT.resolve("docs/library.md")));
    while (matcher.find()) {
      if (matcher.group(1).equals(language)) {
        blocks.add(matcher.group(2));
      }
    }
    return blocks;
  }

  private static List<String> stripped(String text) {
    return text.lines().map(String::strip).toList();
  }

  @Test
  public void codeIsQuotedFromTheSources() throws IOException {
    List<List<String>> sources = new ArrayList<>();
    Path code = ROOT.resolve("examples/library/src/main/java");
    try (Stream<Path> files = Files.walk(code)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".java")).toList()) {
        sources.add(stripped(Files.readString(file)));
      }
    }
    List<String> blocks = blocks("java");
    assertTrue(blocks.size() >= 7, "%d blocks of Java".formatted(blocks.size()));
    for (String block : blocks) {
      List<String> lines = stripped(block);
      assertTrue(
          sources.stream().anyMatch(source -> Collections.indexOfSubList(source, lines) >= 0),
          "in no example:\n" + block);
    }
  }

  /** Each part that a source marks is quoted, to its last line. */
  @Test
  public void markedPartsAreQuotedWhole() throws IOException {
    List<List<String>> blocks = new ArrayList<>();
    blocks("java").forEach(block -> blocks.add(stripped(block)));
    Pattern part = Pattern.compile("(?s)// \\[(\\w+)\\]\\R(.*?)// \\[/\\1\\]");
    int parts = 0;
    Path code = ROOT.resolve("examples/library/src/main/java");
    try (Stream<Path> files = Files.walk(code)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".java")).toList()) {
        Matcher matcher = part.matcher(Files.readString(file));
        while (matcher.find()) {
          List<String> lines = stripped(matcher.group(2).strip());
          assertTrue(
              blocks.contains(lines), "%s of %s".formatted(matcher.group(1), file.getFileName()));
          parts++;
        }
      }
    }
    assertEquals(blocks.size(), parts);
  }

  @Test
  public void coordinatesAreThePoms() throws IOException {
    List<String> blocks = blocks("xml");
    assertEquals(blocks.size(), 3);
    String library =
        Files.readString(ROOT.resolve("megatron-moe/pom.xml"))
            + Files.readString(ROOT.resolve("bom/pom.xml"));
    String pom = Files.readString(ROOT.resolve("pom.xml"));
    String javacpp = first("javacpp.version", pom);
    for (String block : blocks) {
      assertTrue(
          library.contains("\n  <artifactId>%s<".formatted(first("artifactId", block))), block);
      assertEquals(first("groupId", block), first("groupId", pom));
      assertEquals(first("version", block), first("version", pom));
    }
    for (String part : List.of("pytorch", "cuda")) {
      String version = first(part + ".version", pom).replace("${javacpp.version}", javacpp);
      assertTrue(
          blocks
              .get(2)
              .contains(
                  "<artifactId>%s</artifactId>\n  <version>%s</version>".formatted(part, version)),
          part + " " + version);
    }
  }

  private static String first(String tag, String xml) {
    Matcher matcher = Pattern.compile("<%1$s>([^<]*)</%1$s>".formatted(tag)).matcher(xml);
    return Optional.of(matcher).filter(Matcher::find).orElseThrow().group(1);
  }
}
