package moe4j.tokenizer;

/** Strings that may hold surrogates without their partner, which UTF-8 cannot write. */
final class Utf16 {
  private Utf16() {}

  /** The text with U+FFFD for each unpaired surrogate; the same string where all are paired. */
  static String wellFormed(String text) {
    char[] repaired = null;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (!Character.isSurrogate(c)) {
        continue;
      }
      if (Character.isHighSurrogate(c)
          && i + 1 < text.length()
          && Character.isLowSurrogate(text.charAt(i + 1))) {
        i++;
        continue;
      }
      if (repaired == null) {
        repaired = text.toCharArray();
      }
      repaired[i] = '\ufffd';
    }
    return repaired == null ? text : new String(repaired);
  }
}
