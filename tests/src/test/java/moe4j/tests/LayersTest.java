package moe4j.tests;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.tests.Sources.Source;
import org.testng.annotations.Test;

/**
 * The house's walls: who may know whom. Each failure names the file, what it uses and the rule.
 *
 * <p>{@link #STAIRCASE} is the rule for packages. A package may use the packages of lower stairs;
 * packages of one stair do not know each other, so that there are no cycles.
 */
public class LayersTest {
  /** From the top down, the packages after {@code moe4j}. */
  private static final List<Set<String>> STAIRCASE =
      List.of(
          Set.of(
              "application",
              "application.demo",
              "examples.gpt",
              "examples.library",
              "examples.transformerxl"),
          Set.of("cli"),
          Set.of("plan", "report"),
          Set.of("training"),
          Set.of("training.run"),
          Set.of("training.step"),
          Set.of("model.gpt", "model.txl"),
          Set.of("model", "moe.bench"),
          Set.of("moe"),
          Set.of("moe.experts"),
          Set.of("moe.dispatch"),
          Set.of("moe.gate"),
          Set.of("optimizer"),
          Set.of("transformer"),
          Set.of("parallel", "data.preprocess", "data.stream"),
          Set.of("data", "checkpoint", "console", "kernels", "kernels.bench", "kernels.selftest"),
          // Experts' products have an activation's kernel between them.
          Set.of("kernels.experts"),
          Set.of(
              "kernels.activation",
              "kernels.attention",
              "kernels.loss",
              "kernels.norm",
              "kernels.optimizer"),
          Set.of("kernels.dropout", "kernels.product"),
          Set.of("kernels.check", "kernels.cuda"),
          Set.of("tensor", "config", "tokenizer", "record", "cost"));

  /** The five nevers: what a package and those below it never know, by the beginning of names. */
  private static final Map<String, List<String>> NEVERS =
      Map.of(
          "moe4j.moe", List.of("moe4j.model.gpt.", "moe4j.model.txl."),
          "moe4j.transformer", List.of("moe4j.model.gpt.", "moe4j.model.txl."),
          "moe4j.training", List.of("moe4j.model.gpt.", "moe4j.model.txl."),
          "moe4j.plan", List.of("moe4j.model.gpt.", "moe4j.model.txl."),
          "moe4j.checkpoint", List.of("moe4j.tensor.", "moe4j.kernels.", "org.bytedeco."));

  /** A family's package, and the files that may use it. */
  private static final Map<String, Pattern> FAMILIES =
      Map.of(
          "moe4j.model.gpt",
          Pattern.compile(
              "moe4j\\.(model\\.gpt\\..*|cli\\.\\w*Gpt\\w*|application\\.demo\\..*|examples\\..*)"),
          "moe4j.model.txl",
          Pattern.compile("moe4j\\.(model\\.txl\\..*|cli\\.\\w*Txl\\w*|examples\\..*)"));

  private static final Pattern PROVIDES =
      Pattern.compile("provides\\s+([\\w.]+)\\s+with\\s+([^;]+);");

  /** Arrows that run up all the same, each with its reason: the file, then the package it uses. */
  private static final Set<String> EXCEPTIONS = Set.of();

  /** What breaks one of the five nevers all the same. */
  private static final Set<String> NEVER_EXCEPTIONS = Set.of();

  /** Who uses a family's classes all the same. */
  private static final Set<String> FAMILY_EXCEPTIONS = Set.of();

  @Test
  public void everyPackageHasAStair() throws IOException {
    Set<String> packages = new TreeSet<>();
    for (Source source : Sources.all()) {
      packages.add(source.packageName());
    }
    Set<String> stairs = new TreeSet<>();
    STAIRCASE.forEach(stair -> stair.forEach(name -> stairs.add("moe4j." + name)));
    assertEquals(packages, stairs, "STAIRCASE does not name the packages that there are");
  }

  @Test
  public void arrowsPointDown() throws IOException {
    Map<String, Integer> stairs = new TreeMap<>();
    for (int stair = 0; stair < STAIRCASE.size(); stair++) {
      for (String name : STAIRCASE.get(stair)) {
        stairs.put("moe4j." + name, stair);
      }
    }
    Map<String, String> faults = new TreeMap<>();
    for (Source source : Sources.all()) {
      for (String used : source.packages()) {
        if (stairs.getOrDefault(used, -1) <= stairs.getOrDefault(source.packageName(), 0)) {
          faults.put(
              source.name() + " -> " + used,
              "%s uses %s, but %s stands no stair below %s"
                  .formatted(source.path(), source.uses(used), used, source.packageName()));
        }
      }
    }
    assertExcepted(faults, EXCEPTIONS);
  }

  @Test
  public void theFiveNeversHold() throws IOException {
    Map<String, String> faults = new TreeMap<>();
    for (Source source : Sources.all()) {
      NEVERS.forEach(
          (room, unknown) -> {
            if (!(source.packageName() + ".").startsWith(room + ".")) {
              return;
            }
            for (String use : source.uses()) {
              if (unknown.stream().anyMatch(use::startsWith)) {
                faults.put(
                    source.name() + " -> " + use,
                    "%s uses %s, but %s never knows %s"
                        .formatted(source.path(), use, room, unknown));
              }
            }
          });
    }
    assertExcepted(faults, NEVER_EXCEPTIONS);
  }

  @Test
  public void aFamilyIsKnownToItsCommandsAlone() throws IOException {
    Map<String, String> faults = new TreeMap<>();
    for (Source source : Sources.all()) {
      FAMILIES.forEach(
          (family, rooms) -> {
            if (source.packages().contains(family) && !rooms.matcher(source.name()).matches()) {
              faults.put(
                  source.name() + " -> " + family,
                  "%s uses %s, but a family's classes are for the family, for commands that are"
                          .formatted(source.path(), source.uses(family))
                      + " named after it, for the demo and for examples");
            }
          });
    }
    assertExcepted(faults, FAMILY_EXCEPTIONS);
  }

  @Test
  public void aSimpleNameIsOneType() throws IOException {
    Map<String, Set<String>> types = new TreeMap<>();
    for (Source source : Sources.all()) {
      for (String type : source.types()) {
        types.computeIfAbsent(type, none -> new TreeSet<>()).add(source.packageName() + "." + type);
      }
    }
    types.values().removeIf(names -> names.size() == 1);
    assertEquals(types.values().toString(), "[]", "top-level types that share a simple name");
  }

  @Test
  public void aModuleProvidesWhatItsServicesFilesSay() throws IOException {
    for (Path root : Sources.roots()) {
      Path description = root.resolve("module-info.java");
      if (!Files.exists(description)) {
        continue;
      }
      Map<String, List<String>> provided = new TreeMap<>();
      Matcher matcher = PROVIDES.matcher(Files.readString(description));
      while (matcher.find()) {
        provided.put(matcher.group(1), List.of(matcher.group(2).trim().split("\\s*,\\s*")));
      }
      assertEquals(
          provided, Sources.services(root), description + " and META-INF/services beside it");
    }
  }

  /** Fails on a fault that is no exception, and on an exception that is no fault any more. */
  static void assertExcepted(Map<String, String> faults, Set<String> exceptions) {
    List<String> sentences = new ArrayList<>();
    faults.forEach(
        (arrow, sentence) -> {
          if (!exceptions.contains(arrow)) {
            sentences.add(sentence);
          }
        });
    for (String exception : new TreeSet<>(exceptions)) {
      if (!faults.containsKey(exception)) {
        sentences.add(exception + " is mended: its exception can go");
      }
    }
    assertEquals(String.join("\n", sentences), "", sentences.size() + " faults");
  }
}
