package moe4j.tokenizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Path;
import org.testng.annotations.Test;

public class TokenizersTest {
  @Test
  public void everyTypeIsMade() throws IOException {
    for (String type : Tokenizers.types()) {
      Path model = type.startsWith("Hugging") ? Golden.path("bytelevel") : null;
      Integer size = type.startsWith("Null") ? 7 : null;
      Tokenizer tokenizer = Tokenizers.of(new TokenizerConfig(type, model, null, null, size, true));
      assertTrue(tokenizer.eod() >= 0 && tokenizer.eod() < tokenizer.vocabSize(), type);
    }
  }

  @Test
  public void otherTypesAreRefusedByName() {
    assertEquals(
        refusal(TokenizerConfig.ofType("Gpt2")),
        "--tokenizer-type Gpt2 is unknown: it is one of GPT2BPETokenizer, HuggingFaceTokenizer,"
            + " NullTokenizer, ByteTokenizer");
    assertTrue(
        refusal(TokenizerConfig.ofType("Llama2Tokenizer")).contains("use HuggingFaceTokenizer"));
    assertTrue(refusal(TokenizerConfig.ofType(null)).startsWith("--tokenizer-type is missing"));
  }

  @Test
  public void flagsOfOtherTypesAreRefused() {
    Path file = Path.of("file");
    assertEquals(
        refusal(new TokenizerConfig("GPT2BPETokenizer", file, null, null, null, true)),
        "--tokenizer-model file has no meaning for --tokenizer-type GPT2BPETokenizer");
    assertEquals(
        refusal(new TokenizerConfig("ByteTokenizer", null, file, null, null, true)),
        "--vocab-file file has no meaning for --tokenizer-type ByteTokenizer");
    assertEquals(
        refusal(new TokenizerConfig("NullTokenizer", null, null, file, 5, true)),
        "--merge-file file has no meaning for --tokenizer-type NullTokenizer");
    assertEquals(
        refusal(new TokenizerConfig("ByteTokenizer", null, null, null, 300, true)),
        "--vocab-size 300 contradicts --tokenizer-type ByteTokenizer, whose vocabulary has 257 ids");
  }

  @Test
  public void neededFlagsAreAskedFor() {
    assertEquals(
        refusal(TokenizerConfig.ofType("NullTokenizer")),
        "--tokenizer-type NullTokenizer needs --vocab-size");
    assertEquals(
        refusal(new TokenizerConfig("NullTokenizer", null, null, null, 0, true)),
        "--vocab-size must be from 1 to 2147483646, but is 0");
    assertTrue(
        refusal(TokenizerConfig.ofType("HuggingFaceTokenizer"))
            .contains("needs --tokenizer-model"));
  }

  private static String refusal(TokenizerConfig config) {
    return expectThrows(IllegalArgumentException.class, () -> Tokenizers.of(config)).getMessage();
  }
}
