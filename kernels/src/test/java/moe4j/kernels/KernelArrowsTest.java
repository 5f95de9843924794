package moe4j.kernels;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.testng.annotations.Test;

/**
 * Which packages of this module know which: the foundation knows no kernel, what all topics stand
 * on knows no topic, topics know each other in one direction, and the lists know all of them.
 */
public class KernelArrowsTest {
  private static final Path SOURCES =
      Path.of(System.getProperty("moe4j.root"), "kernels/src/main/java/moe4j");

  /** A package's name below moe4j in an import or in code; a name in a comment is no arrow. */
  private static final Pattern NAME =
      Pattern.compile("\\bmoe4j\\.(tensor|kernels(?:\\.[a-z]+)?)\\b");

  private static final Pattern COMMENT = Pattern.compile("/\\*.*?\\*/|//[^\n]*", Pattern.DOTALL);

  private static final Set<String> LISTS = Set.of("kernels.selftest", "kernels.bench");
  private static final Set<String> SHARED = Set.of("tensor", "kernels.cuda", "kernels.check");

  /** The packages that a package names, but for itself. */
  private static Map<String, Set<String>> arrows() throws IOException {
    Map<String, Set<String>> arrows = new TreeMap<>();
    List<Path> files;
    try (Stream<Path> all = Files.walk(SOURCES)) {
      files = all.filter(file -> file.toString().endsWith(".java")).toList();
    }
    for (Path file : files) {
      String from = SOURCES.relativize(file.getParent()).toString().replace('/', '.');
      String code = COMMENT.matcher(Files.readString(file)).replaceAll("");
      Set<String> to = arrows.computeIfAbsent(from, name -> new TreeSet<>());
      Matcher names = NAME.matcher(code);
      while (names.find()) {
        to.add(names.group(1));
      }
      to.remove(from);
    }
    return arrows;
  }

  @Test
  public void theFoundationKnowsNoKernel() throws IOException {
    assertEquals(arrows().get("tensor"), Set.of());
  }

  @Test
  public void whatTopicsShareKnowsNoTopic() throws IOException {
    assertEquals(arrows().get("kernels.cuda"), Set.of("tensor"));
    assertEquals(arrows().get("kernels.check"), Set.of("tensor"));
  }

  @Test
  public void onlyTheListsKnowAllTopics() throws IOException {
    Map<String, Set<String>> arrows = arrows();
    for (var arrow : arrows.entrySet()) {
      if (!arrow.getKey().equals("kernels")) {
        assertTrue(arrow.getValue().stream().noneMatch(LISTS::contains), arrow.toString());
      }
    }
    Set<String> topics = topics(arrows);
    for (String list : LISTS) {
      assertTrue(arrows.get(list).containsAll(topics), list + " of " + topics);
    }
  }

  /** Taking away topics that know none of the rest comes to an end of them. */
  @Test
  public void topicsKnowEachOtherInOneDirection() throws IOException {
    Map<String, Set<String>> arrows = arrows();
    Set<String> left = topics(arrows);
    assertTrue(left.size() > 1, left.toString());
    boolean some = true;
    while (some) {
      Set<String> before = Set.copyOf(left);
      some = left.removeIf(topic -> arrows.get(topic).stream().noneMatch(before::contains));
    }
    assertEquals(left, Set.of());
  }

  private static Set<String> topics(Map<String, Set<String>> arrows) {
    Set<String> topics = new TreeSet<>(arrows.keySet());
    topics.removeAll(SHARED);
    topics.removeAll(LISTS);
    topics.removeIf(name -> !name.startsWith("kernels."));
    return topics;
  }
}
