package moe4j.tokenizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

/**
 * A tokenizer with one thing in it replaced, some thousand times: it works, or is refused with its
 * name, and never ends the process. Before files were checked, one in a hundred did; so it is a
 * process of its own that tries.
 */
public class HfMutationsTest {
  private static final int MUTATIONS = 2000;

  private static final String[] VALUES = {
    "null",
    "true",
    "-1",
    "7",
    "0.5",
    "1e400",
    "9".repeat(300),
    "9223372036854775807",
    "4294967295",
    "\"\"",
    "\"a\"",
    "\"(a|b\"",
    "[]",
    "{}",
    "[[[[7]]]]",
    "{\"type\": \"Sequence\"}",
    "[null]",
    "\"Precompiled\"",
    "\"Strip\"",
    "\"Replace\"",
    "\"Sequence\"",
    "\"ByteLevel\"",
    "\"CTC\"",
    "\"TemplateProcessing\"",
    "\"BPEDecoder\"",
    "\"Unigram\"",
    "\"WordPiece\"",
    "\"WordLevel\"",
  };

  /** Somewhere in a document. */
  private record Place(JsonNode parent, String name, int index) {
    void set(JsonNode value) {
      if (parent instanceof ObjectNode object) {
        object.set(name, value);
      } else {
        ((ArrayNode) parent).set(index, value);
      }
    }
  }

  private static void places(JsonNode node, List<Place> places) {
    for (var field : node.properties()) {
      places.add(new Place(node, field.getKey(), -1));
      places(field.getValue(), places);
    }
    for (int i = 0; node.isArray() && i < node.size(); i++) {
      places.add(new Place(node, null, i));
      places(node.get(i), places);
    }
  }

  /** A place's value becomes another, or the text of the file loses or gains something. */
  private static String mutate(String text, Random random) throws IOException {
    if (random.nextInt(4) == 0) {
      int at = random.nextInt(text.length());
      String piece = random.nextBoolean() ? "" : VALUES[random.nextInt(VALUES.length)];
      return text.substring(0, at) + piece + text.substring(at + random.nextInt(2));
    }
    ObjectMapper json = new ObjectMapper();
    JsonNode root = json.readTree(text);
    List<Place> places = new ArrayList<>();
    places(root, places);
    String value = VALUES[random.nextInt(VALUES.length)];
    places.get(random.nextInt(places.size())).set(json.getNodeFactory().textNode("@value@"));
    return root.toString().replace("\"@value@\"", value);
  }

  /** Tries one mutation after the other, and says which. */
  static final class Trial {
    public static void main(String[] arguments) throws IOException {
      Random random = new Random(Long.parseLong(arguments[0]));
      Path file = Path.of(arguments[1]);
      int taken = 0;
      for (int i = 0; i < MUTATIONS; i++) {
        Files.writeString(file, mutate(HfFileTest.GOOD, random));
        try {
          Tokenizer tokenizer =
              Tokenizers.of(
                  new TokenizerConfig("HuggingFaceTokenizer", file, null, null, null, true));
          tokenizer.encodePrompt("ab a \u00e9</s> xab");
          tokenizer.encode("");
          tokenizer.decode(new int[] {0, 0});
          tokenizer.decode(new int[0]);
          taken++;
        } catch (IOException | IllegalArgumentException refused) {
          if (!refused.getMessage().startsWith("--tokenizer-model")) {
            throw refused;
          }
        } catch (RuntimeException failed) {
          // What encodes or decodes may fail, as long as it says so.
        }
      }
      System.out.println(
          taken > MUTATIONS / 10 && taken < MUTATIONS ? "went on" : taken + " taken");
    }
  }

  @Test
  public void noFileEndsTheProcess() throws Exception {
    Path file = Files.createTempFile("tokenizer", ".json");
    try {
      Process process =
          new ProcessBuilder(
                  Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                  "-XX:ErrorFile=/dev/null",
                  "-XX:-CreateCoredumpOnCrash",
                  "-cp",
                  System.getProperty(
                      "surefire.test.class.path", System.getProperty("java.class.path")),
                  Trial.class.getName(),
                  Long.toString(Seeds.random(HfMutationsTest.class).nextLong()),
                  file.toString())
              .redirectErrorStream(true)
              .start();
      String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      int status = process.waitFor();
      assertEquals(
          status,
          0,
          "%s%nended by %s".formatted(output, status == 0 ? "" : Files.readString(file)));
      assertTrue(output.contains("went on"), output);
    } finally {
      Files.delete(file);
    }
  }
}
