package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.testng.annotations.Test;

/** The pages of the repository lead somewhere. */
public class PageLinksTest {
  private static final Path ROOT = Path.of(System.getProperty("moe4j.root"));
  private static final Pattern LINK = Pattern.compile("\\]\\(([^)\\s]*?)(?:#([^)\\s]*))?\\)");

  private static List<Path> pages() throws IOException {
    List<Path> pages = new ArrayList<>();
    try (Stream<Path> top = Files.list(ROOT);
        Stream<Path> docs = Files.walk(ROOT.resolve("docs"))) {
      Stream.concat(top, docs).filter(page -> page.toString().endsWith(".md")).forEach(pages::add);
    }
    return pages;
  }

  /** What GitHub calls a heading: lower case, words joined by hyphens, no other signs. */
  private static List<String> anchors(Path page) throws IOException {
    return Files.readAllLines(page).stream()
        .filter(line -> line.startsWith("#"))
        .map(line -> line.replaceFirst("^#+ ", "").toLowerCase(Locale.ROOT))
        .map(line -> line.replaceAll("[^\\p{L}\\p{N} _-]", "").replace(' ', '-'))
        .toList();
  }

  @Test
  public void everyLinkHasItsPageAndItsHeading() throws IOException {
    List<String> dead = new ArrayList<>();
    int links = 0;
    for (Path page : pages()) {
      Matcher link = LINK.matcher(Files.readString(page));
      while (link.find()) {
        if (link.group(1).contains("://")) {
          continue;
        }
        links++;
        Path target = link.group(1).isEmpty() ? page : page.resolveSibling(link.group(1));
        if (!Files.exists(target)
            || (link.group(2) != null && !anchors(target).contains(link.group(2)))) {
          dead.add(ROOT.relativize(page) + ": " + link.group());
        }
      }
    }
    assertEquals(dead, List.of());
    assertTrue(links > 50, "only %d links".formatted(links));
  }

  /** A page that the index does not name is found by nobody. */
  @Test
  public void theIndexNamesEveryPage() throws IOException {
    String index = Files.readString(ROOT.resolve("docs/README.md"));
    try (Stream<Path> docs = Files.list(ROOT.resolve("docs"))) {
      List<String> missing =
          docs.map(page -> page.getFileName().toString())
              .filter(name -> name.endsWith(".md") && !name.equals("README.md"))
              .filter(name -> !index.contains("](" + name))
              .toList();
      assertEquals(missing, List.of());
    }
  }
}
