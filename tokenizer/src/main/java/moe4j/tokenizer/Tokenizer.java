package moe4j.tokenizer;

import java.util.Map;

/** Text to token ids and back. Implementations may be used by several threads at once. */
public interface Tokenizer {
  /**
   * The ids of a text, each in {@code 0..vocabSize()-1}; no end of document is appended. An
   * unpaired surrogate counts as U+FFFD.
   *
   * @throws IllegalArgumentException if the text has no ids in this vocabulary
   */
  int[] encode(String text);

  /**
   * The ids of a text that is to be continued: as {@link #encode}, but without what that appends,
   * such as an end of sentence. What stands before the text stays.
   */
  default int[] encodePrompt(String text) {
    return encode(text);
  }

  /**
   * The text of ids. Bytes that are not UTF-8, such as a part of a character, become U+FFFD.
   *
   * @throws IllegalArgumentException if an id lies outside the vocabulary
   */
  String decode(int[] tokens);

  /** One more than the greatest id, special tokens included, padding of the model's not. */
  int vocabSize();

  /** The end-of-document id, or -1. */
  int eod();

  /** The padding id, or -1. */
  int pad();

  /**
   * What tells this tokenizer from another, by the keys and in the order of Megatron's unique
   * identifiers ({@code class}, {@code tokenizer_path} and options); part of the names of dataset
   * cache files, so it never changes for the same flags. Values are strings, or lists of strings
   * and null.
   */
  Map<String, Object> identity();
}
