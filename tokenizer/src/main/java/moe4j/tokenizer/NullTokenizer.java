package moe4j.tokenizer;

import java.util.Arrays;
import java.util.Collections;
import java.util.Map;
import java.util.StringTokenizer;
import java.util.stream.Collectors;

/**
 * Ids written as text, {@code "17 4 9"}: {@code --vocab-size N} ids 0 to N-1 and the end of
 * document, N.
 */
final class NullTokenizer implements Tokenizer {
  private final int eod;

  private NullTokenizer(int eod) {
    this.eod = eod;
  }

  static NullTokenizer of(Integer vocabSize) {
    if (vocabSize == null) {
      throw new IllegalArgumentException("--tokenizer-type NullTokenizer needs --vocab-size");
    }
    if (vocabSize < 1 || vocabSize == Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "--vocab-size must be from 1 to %d, but is %d"
              .formatted(Integer.MAX_VALUE - 1, vocabSize));
    }
    return new NullTokenizer(vocabSize);
  }

  @Override
  public int[] encode(String text) {
    StringTokenizer words = new StringTokenizer(text);
    int[] tokens = new int[words.countTokens()];
    for (int i = 0; i < tokens.length; i++) {
      String word = words.nextToken();
      try {
        tokens[i] = Integer.parseInt(word);
      } catch (NumberFormatException notAnId) {
        throw new IllegalArgumentException(
            "'%s' is no token id: NullTokenizer reads ids 0 to %d separated by spaces"
                .formatted(word, eod),
            notAnId);
      }
    }
    Vocabulary.check(tokens, vocabSize());
    return tokens;
  }

  @Override
  public String decode(int[] tokens) {
    Vocabulary.check(tokens, vocabSize());
    return Arrays.stream(tokens).mapToObj(Integer::toString).collect(Collectors.joining(" "));
  }

  @Override
  public int vocabSize() {
    return eod + 1;
  }

  @Override
  public int eod() {
    return eod;
  }

  @Override
  public int pad() {
    return -1;
  }

  @Override
  public Map<String, Object> identity() {
    Map<String, Object> identity = Vocabulary.identity("_NullTokenizer", (String) null);
    identity.put("vocab_size", Integer.toString(eod));
    return Collections.unmodifiableMap(identity);
  }
}
