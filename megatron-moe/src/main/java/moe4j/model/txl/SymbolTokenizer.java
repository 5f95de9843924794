package moe4j.model.txl;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import moe4j.data.stream.ByteVocabulary;
import moe4j.tokenizer.Tokenizer;

/** A text's UTF-8 bytes as the symbols of a byte corpus; it knows no end of a document. */
record SymbolTokenizer(ByteVocabulary vocabulary) implements Tokenizer {
  private static final int REPLACEMENT = 0xfffd;

  /**
   * The symbols of a text. Newlines are left out where the vocabulary has none.
   *
   * @throws IllegalArgumentException where the text has another byte that is no symbol
   */
  @Override
  public int[] encode(String text) {
    StringBuilder sound = new StringBuilder();
    text.codePoints()
        .map(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE ? REPLACEMENT : c)
        .forEach(sound::appendCodePoint);
    byte[] ids = vocabulary.encode(sound.toString().getBytes(StandardCharsets.UTF_8));
    int[] tokens = new int[ids.length];
    for (int i = 0; i < ids.length; i++) {
      tokens[i] = ids[i] & 0xff;
    }
    return tokens;
  }

  @Override
  public String decode(int[] tokens) {
    return new String(bytes(tokens), StandardCharsets.UTF_8);
  }

  /** The bytes that symbols stand for. */
  byte[] bytes(int[] tokens) {
    byte[] ids = new byte[tokens.length];
    for (int i = 0; i < tokens.length; i++) {
      if (tokens[i] < 0 || tokens[i] >= vocabulary.size()) {
        throw new IllegalArgumentException(
            "symbol %d is not one of the %d of the vocabulary %s"
                .formatted(tokens[i], vocabulary.size(), vocabulary.name()));
      }
      ids[i] = (byte) tokens[i];
    }
    return vocabulary.decode(ids);
  }

  @Override
  public int vocabSize() {
    return vocabulary.size();
  }

  @Override
  public int eod() {
    return -1;
  }

  @Override
  public int pad() {
    return -1;
  }

  @Override
  public Map<String, Object> identity() {
    return Map.of("class", "SymbolTokenizer", "vocabulary", vocabulary.identity());
  }
}
