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
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.cli.PreprocessCommand;
import moe4j.training.RunConfig;
import org.testng.annotations.Test;

public class MegatronFlagsTest {
  private final Set<String> ours = new HashSet<>(RunConfig.flags().names());
  private final List<String> reasons = new ArrayList<>();
  private final List<String> names = new ArrayList<>();

  /** Reads the table by itself: what the reader makes of it is under test. */
  public MegatronFlagsTest() throws IOException {
    ours.addAll(new PreprocessCommand().flags().names());
    try (InputStream in = MegatronFlags.class.getResourceAsStream("megatron-flags.txt")) {
      for (String line : new String(in.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
        if (line.startsWith("#")) {
          reasons.add(line);
        } else if (!line.isBlank()) {
          assertFalse(reasons.isEmpty(), "no reason before " + line);
          names.addAll(List.of(line.split(" ")));
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
      assertTrue(reasons.contains("# " + MegatronFlags.reason(name)), name);
    }
    assertTrue(names.size() > 700, names.size() + " names");
  }

  @Test
  public void reasonsCompleteTheSentence() {
    assertEquals(new HashSet<>(reasons).size(), reasons.size());
    for (String reason : reasons) {
      assertTrue(reason.matches("# \\S.*[^.\\s]"), reason);
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
        Refusals.of(RunConfig.flags(), "--num-layers 2 --pipeline-model-parallel-size 4"),
        "--pipeline-model-parallel-size is a flag of Megatron's that has no place here: pipeline"
            + " parallelism is not there yet");
    for (String line :
        List.of("--fp16", "--fp16=x", "--num-layers --fp16", "--data-path a --fp16")) {
      assertEquals(
          Refusals.of(RunConfig.flags(), line),
          "--fp16 is a flag of Megatron's that has no place here: fp16 and fp8 are not there: use"
              + " --bf16, which needs no loss scale");
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
      assertNotNull(MegatronFlags.reason(name), name);
    }
    assertNotNull(MegatronFlags.reason("grad-norm-skip-threshold"));
  }

  @Test
  public void oldAndOtherNamesTellTheWay() {
    assertEquals(
        MegatronFlags.reason("use-rotary-position-embeddings"),
        "use --position-embedding-type rope");
    assertEquals(
        MegatronFlags.reason("no-position-embedding"), "use --position-embedding-type none");
    assertEquals(
        MegatronFlags.reason("batch-size"), "use --micro-batch-size and --global-batch-size");
    assertEquals(MegatronFlags.reason("encoder-num-layers"), "use --num-layers");
  }

  @Test
  public void whatMegatronDoesNotKnowHasNoReason() {
    for (String name : List.of("", "num-layers", "fp1", "device", "metrics-dir", "# use")) {
      assertNull(MegatronFlags.reason(name), name);
    }
    // Flags whose default is true have two names there.
    assertNotNull(MegatronFlags.reason("no-fp8-wgrad"));
    assertNotNull(MegatronFlags.reason("disable-fp8-wgrad"));
  }
}
