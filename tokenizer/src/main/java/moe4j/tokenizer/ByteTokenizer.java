package moe4j.tokenizer;

import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.Map;

/**
 * A text's UTF-8 bytes, 0 to 255, and the end of document, 256. Megatron has no tokenizer of this
 * name.
 */
final class ByteTokenizer implements Tokenizer {
  private static final int EOD = 256;

  @Override
  public int[] encode(String text) {
    byte[] bytes = Utf16.wellFormed(text).getBytes(StandardCharsets.UTF_8);
    int[] tokens = new int[bytes.length];
    for (int i = 0; i < bytes.length; i++) {
      tokens[i] = bytes[i] & 0xff;
    }
    return tokens;
  }

  /** The end of document has no text. */
  @Override
  public String decode(int[] tokens) {
    Vocabulary.check(tokens, vocabSize());
    byte[] bytes = new byte[tokens.length];
    int length = 0;
    for (int token : tokens) {
      if (token != EOD) {
        bytes[length++] = (byte) token;
      }
    }
    return new String(bytes, 0, length, StandardCharsets.UTF_8);
  }

  @Override
  public int vocabSize() {
    return EOD + 1;
  }

  @Override
  public int eod() {
    return EOD;
  }

  @Override
  public int pad() {
    return -1;
  }

  @Override
  public Map<String, Object> identity() {
    return Collections.unmodifiableMap(Vocabulary.identity("ByteTokenizer"));
  }
}
