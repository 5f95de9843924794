package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.core.JsonPointer;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.zip.CRC32C;
import moe4j.moe.gate.Gate;
import moe4j.testing.Seeds;
import moe4j.transformer.ParameterScope;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/**
 * Checkpoints that were made to do harm: whatever a manifest says, nothing but a sentence comes.
 */
public class HostileCheckpointTest {
  private static final int MUTATIONS = 150;

  /** Stands for a list in a list and so on, which Jackson itself does not write. */
  private static final String DEEP = "nested " + "very ".repeat(3) + "deep";

  private static final int DEPTH = 1500;
  private static final ObjectMapper JSON = new ObjectMapper();

  /** What only a library would say. */
  private static final List<String> NOT_OURS =
      List.of(
          "jackson",
          "deserialize",
          "reference chain",
          "START_",
          "Exception",
          "java.",
          "coerce",
          "constructor",
          "overflow",
          "null",
          "JsonNode",
          "c10",
          "at::");

  private Workspace workspace;
  private Path run;
  private Path manifest;
  private ObjectNode intact;

  @BeforeClass
  public void train() throws IOException {
    workspace = new Workspace();
    run = workspace.path("run");
    Path corpus = workspace.corpus("corpus", Seeds.random(HostileCheckpointTest.class), 60);
    Cli.run(
            "pretrain-gpt --num-layers 1 --hidden-size 8 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --train-iters 1 --lr 1e-3 --eval-iters 0 --num-experts 2"
                + " --moe-ffn-hidden-size 8 --moe-aux-loss-coeff 1e-2"
                + " --tokenizer-type ByteTokenizer --data-path",
            corpus,
            "--save",
            run)
        .ok();
    manifest = run.resolve("iter_0000001").resolve("manifest.json");
    intact = (ObjectNode) JSON.readTree(manifest.toFile());
  }

  @AfterClass(alwaysRun = true)
  public void delete() throws IOException {
    workspace.close();
  }

  /** Values of every kind in every place: wrong types, numbers too large, nothing at all. */
  @Test
  public void whateverAManifestHoldsTheSentenceIsOurs() throws IOException {
    Random random = Seeds.random(HostileCheckpointTest.class);
    List<JsonPointer> places = new ArrayList<>();
    collect(intact, JsonPointer.empty(), places);
    Collections.shuffle(places, random);
    List<JsonNode> values = values();
    int refused = 0;
    for (int i = 0; i < MUTATIONS; i++) {
      JsonPointer place = places.get(i % places.size());
      ObjectNode changed = intact.deepCopy();
      JsonNode value = i % 7 == 6 ? null : values.get(random.nextInt(values.size()));
      put(changed, place, value);
      write(changed);
      Cli.Result result = evaluate();
      String what = place + " = " + value + ": " + result.err();
      assertTrue(result.status() >= 0 && result.status() <= 2, what);
      if (result.status() != 0) {
        refused++;
        for (String word : NOT_OURS) {
          assertFalse(result.err().contains(word) && !String.valueOf(value).contains(word), what);
        }
        boolean named =
            result.err().matches("(?s).*(iter_0000001| --[a-z]).*")
                || (value != null && result.err().contains(value.asText()));
        assertTrue(named, what);
      }
    }
    assertTrue(refused > MUTATIONS / 3, refused + " of " + MUTATIONS + " were refused");
  }

  /** Nothing of a size is made because a file says so: these would be terabytes. */
  @Test
  public void sizesAreComparedWithTheShardsFirst() throws IOException {
    for (String flag : List.of("hiddenSize", "numLayers", "maxPositionEmbeddings")) {
      ObjectNode changed = intact.deepCopy();
      ((ObjectNode) changed.at("/run/configuration/model")).put(flag, 1_000_000_000);
      refusal(changed, "iter_0000001");
    }
    for (String flag : List.of("numExperts", "moeFfnHiddenSize")) {
      ObjectNode changed = intact.deepCopy();
      ((ObjectNode) changed.at("/run/configuration/moe")).put(flag, 1_000_000_000);
      refusal(changed, "iter_0000001");
    }
    ObjectNode pattern = intact.deepCopy();
    ((ObjectNode) pattern.at("/run/configuration/moe")).put("moeLayerFreq", "([1]*99999)*99999");
    refusal(pattern, "more than 65536 layers");
  }

  @Test
  public void aManifestThatIsNoFileOrTooLargeIsRefusedUnread() throws Exception {
    Files.delete(manifest);
    try (RandomAccessFile large = new RandomAccessFile(manifest.toFile(), "rw")) {
      large.setLength((64L << 20) + 1);
    }
    Cli.Result result = evaluate();
    assertEquals(result.status(), 1);
    assertTrue(result.err().contains("a manifest has at most 67108864"), result.err());
    Files.delete(manifest);
    // Reading a pipe that nobody writes to would last for ever.
    if (new ProcessBuilder("mkfifo", manifest.toString()).start().waitFor() == 0) {
      result = evaluate();
      assertEquals(result.status(), 1);
      assertTrue(result.err().contains("it is no regular file"), result.err());
      Files.delete(manifest);
    }
  }

  /** A class that tells whether a line of it has run. */
  public static final class Trap implements Gate.Factory {
    static {
      System.setProperty("moe4j.test.trap", "sprung");
    }

    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      throw new IllegalArgumentException("made by Trap");
    }
  }

  /** A class that is no gate at all. */
  public static final class Stranger {
    static {
      System.setProperty("moe4j.test.stranger", "sprung");
    }
  }

  @Test
  public void aCheckpointAloneHasNoClassLoaded() throws IOException {
    String trap = HostileCheckpointTest.class.getName() + "$Trap";
    ObjectNode changed = intact.deepCopy();
    ObjectNode moe = (ObjectNode) changed.at("/run/configuration/moe");
    moe.put("balanceStrategy", trap).putArray("moeAuxLossCoeff").add(0.0);
    refusal(changed, "names the gate " + trap + ", a class that is not moe4j's");
    assertEquals(System.getProperty("moe4j.test.trap"), null);
    // Where the command line names it, it is the user's own wish.
    Cli.Result allowed = evaluate("--balance-strategy", trap);
    assertTrue(allowed.err().contains("made by Trap"), allowed.err());
    assertEquals(System.getProperty("moe4j.test.trap"), "sprung");

    String stranger = HostileCheckpointTest.class.getName() + "$Stranger";
    moe.put("balanceStrategy", stranger);
    write(changed);
    Cli.Result none = evaluate("--balance-strategy", stranger);
    assertTrue(none.err().contains("does not implement moe4j.moe.gate.Gate$Factory"), none.err());
    assertEquals(System.getProperty("moe4j.test.stranger"), null);
  }

  /** Its flags are another kind's, too: nothing is said of them that is not so. */
  @Test
  public void ofAKindThatTheClassPathLacks() throws IOException {
    ObjectNode changed = intact.deepCopy();
    ((ObjectNode) changed.at("/run/configuration")).put("family", "bert");
    write(changed);
    Cli.Result result = evaluate("--mask-length", 3);
    assertEquals(result.status(), 2);
    assertTrue(
        result
            .err()
            .contains(
                "iter_0000001 cannot be used: there is no kind of model 'bert': there are gpt, "),
        result.err());
    assertTrue(Cli.run("runs", run).ok().out().contains("  GPT "));
  }

  private void refusal(ObjectNode changed, String sentence) throws IOException {
    write(changed);
    Cli.Result result = evaluate();
    assertTrue(result.status() == 1 || result.status() == 2, result.err());
    assertTrue(result.err().contains(sentence), result.err());
    assertEquals(result.err().lines().count(), 1, result.err());
  }

  private Cli.Result evaluate(Object... more) {
    return Cli.run(
        Cli.with(
            Cli.arguments("evaluate --part train --samples 1 --load", run),
            "--data-cache-path " + workspace.path("cache"),
            more));
  }

  /** Every place of a tree; of its many tensors the first alone. */
  private static void collect(JsonNode node, JsonPointer at, List<JsonPointer> places) {
    if (!at.matches()) {
      places.add(at);
    }
    int tensors = 0;
    for (Map.Entry<String, JsonNode> field : node.properties()) {
      if (at.toString().equals("/tensors") && tensors++ > 0) {
        break;
      }
      if (!(at.matches() && field.getKey().equals("checksum"))) {
        collect(field.getValue(), at.appendProperty(field.getKey()), places);
      }
    }
    for (int i = 0; node.isArray() && i < node.size(); i++) {
      collect(node.get(i), at.appendIndex(i), places);
    }
  }

  private static List<JsonNode> values() {
    JsonNodeFactory make = JsonNodeFactory.instance;
    return List.of(
        make.textNode("x"),
        make.textNode(""),
        make.numberNode(-1),
        make.numberNode(0),
        make.numberNode(Long.MAX_VALUE),
        make.numberNode(1.5),
        make.numberNode(new java.math.BigInteger("9".repeat(400))),
        make.booleanNode(true),
        make.nullNode(),
        make.arrayNode(),
        make.objectNode(),
        make.arrayNode().add("x").add(1),
        make.textNode(DEEP));
  }

  private static void put(ObjectNode root, JsonPointer place, JsonNode value) {
    JsonNode parent = root.at(place.head());
    String last = place.last().getMatchingProperty();
    if (parent instanceof ArrayNode array) {
      int index = Integer.parseInt(last);
      if (value == null) {
        array.remove(index);
      } else {
        array.set(index, value);
      }
    } else if (value == null) {
      ((ObjectNode) parent).remove(last);
    } else {
      ((ObjectNode) parent).set(last, value);
    }
  }

  /** With the checksum that is right for it. */
  private void write(ObjectNode changed) throws IOException {
    ObjectNode body = changed.deepCopy();
    body.remove("checksum");
    String text = body.toString().replace('"' + DEEP + '"', "[".repeat(DEPTH) + "]".repeat(DEPTH));
    text = text.substring(0, text.length() - 1);
    CRC32C crc = new CRC32C();
    crc.update(text.getBytes(StandardCharsets.UTF_8));
    Files.writeString(
        manifest, text + ",\n  \"checksum\" : \"crc32c:%08x\"\n}\n".formatted(crc.getValue()));
  }
}
