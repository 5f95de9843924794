package moe4j.tokenizer;

import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/** What tokenizers have in common. */
final class Vocabulary {
  private Vocabulary() {}

  /**
   * @throws IllegalArgumentException if a token lies outside {@code 0..size-1}
   */
  static void check(int[] tokens, int size) {
    for (int token : tokens) {
      if (token < 0 || token >= size) {
        throw new IllegalArgumentException(
            "token id %d is outside the vocabulary, 0 to %d".formatted(token, size - 1));
      }
    }
  }

  /** The identity of one of Megatron's tokenizers: its class there and its files. */
  static Map<String, Object> identity(String megatronClass, String... paths) {
    Map<String, Object> identity = new LinkedHashMap<>();
    identity.put("class", megatronClass);
    identity.put("tokenizer_path", Collections.unmodifiableList(Arrays.asList(paths)));
    return identity;
  }
}
