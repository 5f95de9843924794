package moe4j.tokenizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;

import com.fasterxml.jackson.databind.JsonNode;
import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.EncodingType;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class Gpt2BpeTokenizerTest {
  private final Tokenizer tokenizer = gpt2();

  static Tokenizer gpt2() {
    try {
      return Tokenizers.of(TokenizerConfig.ofType("GPT2BPETokenizer"));
    } catch (IOException impossible) {
      throw new AssertionError(impossible);
    }
  }

  @Test
  public void knownIds() {
    assertEquals(tokenizer.encode("Hello world, MoE!"), new int[] {15496, 995, 11, 4270, 36, 0});
    assertEquals(tokenizer.vocabSize(), 50257);
    assertEquals(tokenizer.eod(), 50256);
    assertEquals(tokenizer.pad(), -1);
  }

  /** Values made by tiktoken 0.14 with GPT-2's pattern and ranks. */
  @Test
  public void agreesWithTiktoken() throws IOException {
    for (JsonNode golden : Golden.lines("gpt2-golden.jsonl")) {
      String text = golden.get("text").asText();
      int[] tokens = Golden.tokens(golden.get("tokens"));
      assertEquals(tokenizer.encode(text), tokens, text);
      assertEquals(tokenizer.decode(tokens), Utf16.wellFormed(text));
    }
  }

  /** jtokkit cuts with a regular expression and remembers nothing. */
  @Test
  public void agreesWithJtokkitOnRandomText() {
    Encoding jtokkit = Encodings.newLazyEncodingRegistry().getEncoding(EncodingType.R50K_BASE);
    Random random = Seeds.random(Gpt2BpeTokenizerTest.class);
    for (int i = 0; i < 5_000; i++) {
      String text = RandomText.wellFormed(random);
      int[] tokens = tokenizer.encode(text);
      assertEquals(tokens, jtokkit.encodeOrdinary(text).toArray(), text);
      assertEquals(tokenizer.decode(tokens), text);
    }
  }

  @Test
  public void unpairedSurrogatesAreReplaced() {
    String replaced = "a\ufffdb \ufffd\ufffd \ud83d\ude00 \ufffd";
    assertEquals(
        tokenizer.decode(tokenizer.encode("a\ud83db \udc00\ud800 \ud83d\ude00 \ud83d")), replaced);
    assertEquals(tokenizer.encode("\udc00"), tokenizer.encode("\ufffd"));
  }

  @Test
  public void endOfDocumentIsNeverEncoded() {
    int[] tokens = tokenizer.encode("<|endoftext|>");
    assertEquals(IntStream.of(tokens).filter(token -> token == 50256).count(), 0);
    assertEquals(tokenizer.decode(new int[] {50256}), "<|endoftext|>");
  }

  @Test
  public void partOfACharacterDecodesToTheReplacement() {
    int[] smile = tokenizer.encode("\ud83d\ude00");
    assertEquals(tokenizer.decode(new int[] {smile[0]}), "\ufffd");
  }

  @Test
  public void foreignIdsAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> tokenizer.decode(new int[] {50257}));
    assertThrows(IllegalArgumentException.class, () -> tokenizer.decode(new int[] {-1}));
  }

  /** More pieces than the memory has places, so that threads overwrite each other's. */
  @Test
  public void threadsAgree() {
    Random random = Seeds.random(Gpt2BpeTokenizerTest.class);
    List<String> texts = new ArrayList<>();
    List<int[]> expected = new ArrayList<>();
    Tokenizer alone = gpt2();
    for (int i = 0; i < 4000; i++) {
      texts.add(
          random
              .ints(40, 'a', 'z' + 1)
              .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
              .toString()
              .replaceAll("[aeiou]", " "));
      expected.add(alone.encode(texts.get(i)));
    }
    IntStream.range(0, 4 * texts.size())
        .parallel()
        .map(i -> i % texts.size())
        .forEach(i -> assertEquals(tokenizer.encode(texts.get(i)), expected.get(i)));
  }

  @Test
  public void aVeryLongPieceIsMerged() {
    String text = "x" + "ab".repeat(100_000);
    assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
  }
}
