package moe4j.tokenizer;

import java.util.Random;

/** Texts that mix what a tokenizer tells apart: scripts, digits, spaces, marks, contractions. */
final class RandomText {
  private static final String[] FRAGMENTS = {
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\u0085",
    "'s",
    "'ll",
    "'",
    "''ve",
    "the",
    " and",
    "Stream",
    "if (x) {",
    "}",
    "0",
    "42",
    "\u0663",
    "\u2167",
    "\u00bd",
    "\u00e9",
    "e\u0301",
    "\u043c\u0438\u0440",
    "\u65e5\u672c",
    "\u0939\u093f",
    "\ud83d\ude00",
    "\ud835\udd18",
    "\ud801\udc37",
    "\u200d",
    "\ufeff",
    "\u0000",
    "-",
    "....",
    "<|endoftext|>",
    "aaaaaaaaaaaaaaaa"
  };

  private RandomText() {}

  /** Any text without unpaired surrogates, of up to a few hundred characters. */
  static String wellFormed(Random random) {
    StringBuilder text = new StringBuilder();
    for (int i = random.nextInt(80); i > 0; i--) {
      switch (random.nextInt(4)) {
        case 0 -> text.append((char) (' ' + random.nextInt(95)));
        case 1 -> text.appendCodePoint(codePoint(random));
        default -> text.append(FRAGMENTS[random.nextInt(FRAGMENTS.length)]);
      }
    }
    return text.toString();
  }

  private static int codePoint(Random random) {
    int codePoint = random.nextInt(Character.MAX_CODE_POINT + 1);
    return codePoint >= 0xd800 && codePoint <= 0xdfff ? 'x' : codePoint;
  }
}
