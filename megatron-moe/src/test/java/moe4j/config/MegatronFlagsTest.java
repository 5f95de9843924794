package moe4j.config;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotNull;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.cli.PreprocessCommand;
import moe4j.model.gpt.GptFamily;
import org.testng.annotations.Test;

public class MegatronFlagsTest {
  private final Set<String> ours = new HashSet<>(new GptFamily().flags().names());
  private final List<String> reasons = new ArrayList<>();
  private final Map<String, String> rows = new LinkedHashMap<>();
  private final List<String> names = new ArrayList<>();

  /** Reads the table by itself: what the reader makes of it is under test. */
  public MegatronFlagsTest() throws IOException {
    ours.addAll(new PreprocessCommand().flags().names());
    // Every command has it, by itself.
    ours.add("config");
    try (InputStream in = MegatronFlags.class.getResourceAsStream("megatron-flags.txt")) {
      for (String line : new String(in.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
        if (line.matches("[#+~] .*")) {
          reasons.add(line);
        } else if (!line.isBlank()) {
          assertFalse(reasons.isEmpty(), "no reason before " + line);
          for (String word : line.split(" ")) {
            rows.put(word, reasons.get(reasons.size() - 1));
            names.add(word.replaceFirst("[=?].*", ""));
          }
        }
      }
    }
  }

  @Test
  public void noneIsOneOfOurs() {
    Set<String> both = new HashSet<>(names);
    both.retainAll(ours);
    assertEquals(both, Set.of());
  }

  @Test
  public void eachHasOneReason() {
    Set<String> seen = new HashSet<>();
    for (String name : names) {
      assertTrue(name.matches("[A-Za-z0-9][A-Za-z0-9_-]*"), name);
      assertTrue(seen.add(name), name + " stands twice");
      assertTrue(
          reasons.contains("# " + MegatronFlags.row(name).reason())
              || reasons.contains("+ " + MegatronFlags.row(name).reason())
              || reasons.contains(MegatronFlags.row(name).reason().replace("use ", "~ ")),
          name);
    }
    assertTrue(names.size() > 700, names.size() + " names");
  }

  @Test
  public void reasonsCompleteTheSentence() {
    assertEquals(new HashSet<>(reasons).size(), reasons.size());
    for (String reason : reasons) {
      assertTrue(reason.matches("[#+~] \\S.*[^.\\s]"), reason);
    }
  }

  @Test
  public void flagsThatReasonsNameAreOurs() {
    Pattern flag = Pattern.compile("--([a-z0-9-]+)");
    for (String reason : reasons) {
      Matcher named = flag.matcher(reason);
      while (named.find()) {
        assertTrue(ours.contains(named.group(1)), reason);
      }
    }
  }

  @Test
  public void aMegatronCommandLineIsRefusedByName() {
    assertEquals(
        Refusals.of(new GptFamily().flags(), "--num-layers 2 --pipeline-model-parallel-size 4"),
        "--pipeline-model-parallel-size 4 is a flag of Megatron's that has no place here: not yet:"
            + " pipeline parallelism");
    for (String line :
        List.of("--fp16", "--fp16=x", "--num-layers --fp16", "--data-path a --fp16")) {
      assertTrue(
          Refusals.all(new GptFamily().flags(), line)
              .contains(
                  "--fp16 is a flag of Megatron's that has no place here: not yet: fp16 with its loss scale;"
                      + " use --bf16"),
          line);
    }
  }

  @Test
  public void preprocessingsFlagsAreRefusedByName() {
    assertEquals(
        Refusals.of(new PreprocessCommand().flags(), "--input a --output-prefix b --partitions 2"),
        "--partitions is a flag of Megatron's that has no place here: preprocessing is one process"
            + " with --workers threads, and --input takes several files");
    for (String name :
        List.of("split-sentences", "keep-newlines", "lang", "keep-sequential-samples")) {
      assertNotNull(MegatronFlags.row(name), name);
    }
    assertNotNull(MegatronFlags.row("grad-norm-skip-threshold"));
  }

  @Test
  public void oldAndOtherNamesTellTheWay() {
    assertEquals(
        MegatronFlags.row("use-rotary-position-embeddings").reason(),
        "use --position-embedding-type rope");
    assertEquals(
        MegatronFlags.row("batch-size").reason(), "use --micro-batch-size and --global-batch-size");
    assertEquals(MegatronFlags.row("encoder-num-layers").reason(), "use --num-layers");
  }

  /** A row says by itself what may stand behind its name, and what becomes of it then. */
  @Test
  public void eachRowIsTakenOrRefusedAsItSays() {
    rows.forEach(
        (word, reason) -> {
          String name = word.replaceFirst("[=?].*", "");
          MegatronFlags.Row row = MegatronFlags.row(name);
          String values = word.contains("=") ? word.replaceFirst("[^=]*=", "") : null;
          if (word.contains("?")) {
            assertTrue(ours.contains(row.beside().replaceFirst("=.*", "")), word);
          } else if (values == null) {
            assertEquals(row.arity(), MegatronFlags.Arity.SWITCH, word);
            assertEquals(row.isTaken(List.of()), !reason.startsWith("#"), word);
          } else if (values.startsWith("*")) {
            assertTrue(reason.startsWith("+"), word + ": any value is refused with no value named");
            assertTrue(row.isTaken(List.of("x")), word);
          } else {
            assertTrue(reason.startsWith("#"), word + " has no reason for other values");
            assertEquals(row.arity(), MegatronFlags.Arity.VALUE, word);
            for (String value : values.split("\\|")) {
              assertTrue(row.isTaken(List.of(value)), word);
            }
            assertFalse(row.isTaken(List.of("17")), word);
            assertFalse(row.isTaken(List.of("nothing")), word);
          }
        });
  }

  @Test
  public void whatMegatronDoesNotKnowHasNoReason() {
    for (String name : List.of("", "num-layers", "fp1", "device", "metrics-dir", "# use")) {
      assertNull(MegatronFlags.row(name), name);
    }
    // Flags whose default is true have two names there.
    assertNotNull(MegatronFlags.row("no-fp8-wgrad"));
    assertNotNull(MegatronFlags.row("disable-fp8-wgrad"));
  }
}
