package moe4j.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Base64;
import java.util.BitSet;
import java.util.Deque;
import java.util.function.Function;

/**
 * SentencePiece's table of characters and what each is replaced with, in Base64: the size of a
 * trie, the trie (Darts' double array), and the replacements, each ended by a zero byte. The
 * tokenizers library follows it wherever it leads, out of the table as well.
 */
final class HfCharsMap {
  private HfCharsMap() {}

  /** Refuses a table that leads out of itself. */
  static void check(JsonNode map, String name, Function<String, IOException> refused)
      throws IOException {
    if (!map.isTextual()) {
      throw refused.apply(name + " has no precompiled_charsmap");
    }
    ByteBuffer bytes;
    try {
      bytes =
          ByteBuffer.wrap(Base64.getDecoder().decode(map.textValue()))
              .order(ByteOrder.LITTLE_ENDIAN);
    } catch (IllegalArgumentException notBase64) {
      throw refused.apply(name + ".precompiled_charsmap is no Base64");
    }
    long size = bytes.remaining() < Integer.BYTES ? -1 : Integer.toUnsignedLong(bytes.getInt());
    if (size < Integer.BYTES || size % Integer.BYTES != 0 || size > bytes.remaining()) {
      throw refused.apply(name + ".precompiled_charsmap is cut off or no table of characters");
    }
    int[] trie = new int[(int) size / Integer.BYTES];
    bytes.asIntBuffer().get(trie);
    bytes.position(bytes.position() + (int) size);
    String replacements;
    try {
      replacements = StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
    } catch (CharacterCodingException notUtf8) {
      throw refused.apply(name + ".precompiled_charsmap holds replacements that are no UTF-8");
    }
    if (!isClosed(trie, replacements.getBytes(StandardCharsets.UTF_8))) {
      throw refused.apply(name + ".precompiled_charsmap leads out of its own table");
    }
  }

  /** Goes wherever some text could lead the library. */
  private static boolean isClosed(int[] trie, byte[] replacements) {
    BitSet seen = new BitSet(trie.length);
    Deque<Integer> open = new ArrayDeque<>();
    open.push(offset(trie[0]));
    while (!open.isEmpty()) {
      int base = open.pop();
      // The zero byte ends a key; any other continues it.
      for (int label = 1; label < 256; label++) {
        int at = base ^ label;
        if (at >= trie.length) {
          return false;
        }
        if ((trie[at] & (1 << 31 | 0xff)) != label || seen.get(at)) {
          continue;
        }
        seen.set(at);
        int next = at ^ offset(trie[at]);
        if ((trie[at] >>> 8 & 1) == 1) {
          if (next >= trie.length) {
            return false;
          }
          int value = trie[next] & Integer.MAX_VALUE;
          if (value > replacements.length
              || (value < replacements.length && (replacements[value] & 0xc0) == 0x80)) {
            return false;
          }
        }
        open.push(next);
      }
    }
    return true;
  }

  /** How far away the children of a unit lie. */
  private static int offset(int unit) {
    return unit >>> 10 << ((unit & 1 << 9) >>> 6);
  }
}
