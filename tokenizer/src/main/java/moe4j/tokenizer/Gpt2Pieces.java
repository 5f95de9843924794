package moe4j.tokenizer;

/**
 * Cuts text into the pieces that GPT-2's BPE never merges across: a contraction's ending, letters,
 * digits or other characters with at most one space before them, or white space without the space
 * that belongs to the next piece. In GPT-2's pattern:
 *
 * <pre>{@code 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+}</pre>
 *
 * Written out because {@link java.util.regex} would take most of the time of tokenising.
 */
final class Gpt2Pieces {
  private static final byte OTHER = 0;
  private static final byte LETTER = 1;
  private static final byte NUMBER = 2;
  private static final byte SPACE = 3;

  private static final byte[] KINDS = new byte[0x10000];

  static {
    for (int c = 0; c < KINDS.length; c++) {
      KINDS[c] = classify(c);
    }
  }

  private Gpt2Pieces() {}

  /** The end of the piece that starts at {@code start}, in a text without unpaired surrogates. */
  static int end(String text, int start) {
    char first = text.charAt(start);
    if (first == '\'') {
      int contraction = contraction(text, start);
      if (contraction > 0) {
        return start + contraction;
      }
    }
    int run = first == ' ' && start + 1 < text.length() ? start + 1 : start;
    byte kind = kind(text, run);
    int end = run;
    if (kind == SPACE) {
      end = start;
    }
    while (end < text.length() && kind(text, end) == kind) {
      end += Character.isHighSurrogate(text.charAt(end)) ? 2 : 1;
    }
    // White space is a piece, but for its last character where a piece follows that may take it.
    return kind == SPACE && end < text.length() && end > start + 1 ? end - 1 : end;
  }

  private static int contraction(String text, int start) {
    char next = start + 1 < text.length() ? text.charAt(start + 1) : 0;
    char last = start + 2 < text.length() ? text.charAt(start + 2) : 0;
    return switch (next) {
      case 's', 't', 'm', 'd' -> 2;
      case 'r', 'v' -> last == 'e' ? 3 : 0;
      case 'l' -> last == 'l' ? 3 : 0;
      default -> 0;
    };
  }

  private static byte kind(String text, int at) {
    char c = text.charAt(at);
    return Character.isHighSurrogate(c) ? classify(text.codePointAt(at)) : KINDS[c];
  }

  private static byte classify(int codePoint) {
    return switch (Character.getType(codePoint)) {
      case Character.UPPERCASE_LETTER,
          Character.LOWERCASE_LETTER,
          Character.TITLECASE_LETTER,
          Character.MODIFIER_LETTER,
          Character.OTHER_LETTER ->
          LETTER;
      case Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER ->
          NUMBER;
      case Character.SPACE_SEPARATOR, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR ->
          SPACE;
      default -> (codePoint >= '\t' && codePoint <= '\r') || codePoint == 0x85 ? SPACE : OTHER;
    };
  }
}
