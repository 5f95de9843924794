package moe4j.tokenizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class HfTokenizerTest {
  private static Tokenizer of(Path model, boolean includeSpecialTokens) throws IOException {
    return Tokenizers.of(
        new TokenizerConfig("HuggingFaceTokenizer", model, null, null, null, includeSpecialTokens));
  }

  @DataProvider
  public Object[][] tokenizers() {
    return new Object[][] {{"bytelevel"}, {"unigram"}};
  }

  /**
   * Values made by tokenizers 0.23 in Python, before truncation and padding were written into
   * bytelevel's file.
   */
  @Test(dataProvider = "tokenizers")
  public void agreesWithPython(String name) throws IOException {
    Tokenizer special = of(Golden.path(name), true);
    Tokenizer plain = of(Golden.path(name + "/tokenizer.json"), false);
    for (JsonNode golden : Golden.lines(name + "/golden.jsonl")) {
      String text = golden.get("text").asText();
      int[] tokens = Golden.tokens(golden.get("plain"));
      assertEquals(special.encode(text), Golden.tokens(golden.get("tokens")), text);
      assertEquals(plain.encode(text), tokens, text);
      assertEquals(plain.decode(tokens), golden.get("decoded").asText());
    }
  }

  @Test
  public void byteLevelTextComesBack() throws IOException {
    Tokenizer tokenizer = of(Golden.path("bytelevel"), true);
    Random random = Seeds.random(HfTokenizerTest.class);
    for (int i = 0; i < 500; i++) {
      String text = RandomText.wellFormed(random);
      assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
    }
    assertEquals(tokenizer.decode(tokenizer.encode("\ud800 \udc00")), "\ufffd \ufffd");
  }

  @Test
  public void specialTokens() throws IOException {
    Tokenizer customary = of(Golden.path("bytelevel"), true);
    assertEquals(customary.vocabSize(), 384);
    assertEquals(customary.eod(), 0);
    assertEquals(customary.pad(), -1);
    Tokenizer configured = of(Golden.path("unigram"), true);
    assertEquals(configured.vocabSize(), 200);
    assertEquals(configured.eod(), 4);
    assertEquals(configured.pad(), 3);
  }

  @Test
  public void identityNamesTheFile() throws IOException {
    Path model = Golden.path("unigram");
    assertEquals(
        of(model, true).identity().toString(),
        "{class=_HuggingFaceTokenizer, tokenizer_path=[%s]}".formatted(model));
    assertTrue(!of(model, true).identity().equals(of(model, false).identity()));
  }

  @Test
  public void foreignIdsAreRefused() throws IOException {
    Tokenizer tokenizer = of(Golden.path("unigram"), true);
    expectThrows(IllegalArgumentException.class, () -> tokenizer.decode(new int[] {200}));
  }

  @Test
  public void badFilesAreNamed() throws IOException {
    assertTrue(refusal(Path.of("org", "model")).contains("hub are not looked up"));
    Path directory = Files.createTempDirectory("tokenizer");
    Path file = directory.resolve("tokenizer.json");
    Path config = directory.resolve("tokenizer_config.json");
    try {
      Files.writeString(file, "{\"model\": ");
      assertTrue(
          refusal(directory).startsWith("--tokenizer-model: %s is no JSON: ".formatted(file)));
      Files.writeString(file, "{\"version\": \"1.0\"}");
      assertEquals(refusal(directory), "--tokenizer-model: %s has no vocabulary".formatted(file));
      Files.writeString(file, "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}}");
      assertTrue(
          refusal(directory)
              .startsWith("--tokenizer-model %s cannot be used: ".formatted(directory)));
      Files.writeString(config, "{\"eos_token\": \"<end>\"}");
      assertEquals(
          expectThrows(IllegalArgumentException.class, () -> of(directory, true)).getMessage(),
          "--tokenizer-model: eos_token of %s is '<end>', which the vocabulary lacks"
              .formatted(config));
    } finally {
      Files.deleteIfExists(config);
      Files.delete(file);
      Files.delete(directory);
    }
  }

  private static String refusal(Path model) {
    return expectThrows(IOException.class, () -> of(model, true)).getMessage();
  }
}
