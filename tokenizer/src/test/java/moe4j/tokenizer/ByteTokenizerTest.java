package moe4j.tokenizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;

import java.nio.charset.StandardCharsets;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class ByteTokenizerTest {
  private final Tokenizer tokenizer = new ByteTokenizer();

  @Test
  public void tokensAreUtf8Bytes() {
    assertEquals(tokenizer.encode("a\u00e9\u20ac"), new int[] {'a', 0xc3, 0xa9, 0xe2, 0x82, 0xac});
    assertEquals(tokenizer.vocabSize(), 257);
    assertEquals(tokenizer.eod(), 256);
    assertEquals(tokenizer.identity().toString(), "{class=ByteTokenizer, tokenizer_path=[]}");
  }

  @Test
  public void everyTextComesBack() {
    Random random = Seeds.random(ByteTokenizerTest.class);
    for (int i = 0; i < 2000; i++) {
      String text = RandomText.wellFormed(random);
      int[] tokens = tokenizer.encode(text);
      assertEquals(tokens.length, text.getBytes(StandardCharsets.UTF_8).length);
      assertEquals(tokenizer.decode(tokens), text);
    }
  }

  @Test
  public void unpairedSurrogatesAreReplaced() {
    assertEquals(tokenizer.decode(tokenizer.encode("\ud800x\udfff")), "\ufffdx\ufffd");
  }

  @Test
  public void decodingSkipsEndsOfDocumentsAndMendsUtf8() {
    assertEquals(tokenizer.decode(new int[] {'a', 256, 0xc3, 256, 'b'}), "a\ufffdb");
    assertThrows(IllegalArgumentException.class, () -> tokenizer.decode(new int[] {257}));
  }
}
