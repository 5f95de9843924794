package moe4j.tokenizer;

import java.io.IOException;
import java.io.InputStream;
import java.io.PushbackInputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Text files as people save them: UTF-8, with a byte order mark or without. The mark is no part of
 * the text. A mark of another encoding is refused, and so is what is plainly no text.
 */
public final class TextFiles {
  /** Bytes that tell what a file is; the longest of {@link #FOREIGN}. */
  private static final int LOOK = 10;

  private static final byte[] UTF8_MARK = {(byte) 0xef, (byte) 0xbb, (byte) 0xbf};

  /** How files of a kind begin, and what to do with them. */
  @SuppressWarnings("ArrayRecordComponent") // a pointer to constants: nobody compares two
  private record Beginning(String kind, String advice, int... bytes) {
    boolean is(byte[] begin) {
      if (begin.length < bytes.length) {
        return false;
      }
      for (int i = 0; i < bytes.length; i++) {
        if ((begin[i] & 0xff) != bytes[i]) {
          return false;
        }
      }
      return true;
    }
  }

  private static final String CONVERT = "convert it to UTF-8";
  private static final String UNPACK = "unpack it first";

  // The marks of UTF-32 come first: the little one begins as that of UTF-16 does.
  private static final Beginning[] FOREIGN = {
    new Beginning("UTF-32 text", CONVERT, 0xff, 0xfe, 0, 0),
    new Beginning("UTF-32 text", CONVERT, 0, 0, 0xfe, 0xff),
    new Beginning("UTF-16 text", CONVERT, 0xff, 0xfe),
    new Beginning("UTF-16 text", CONVERT, 0xfe, 0xff),
    new Beginning("gzip data", "give it a name that ends in .gz, or unpack it", 0x1f, 0x8b, 8),
    new Beginning("Zstandard data", UNPACK, 0x28, 0xb5, 0x2f, 0xfd),
    new Beginning("xz data", UNPACK, 0xfd, '7', 'z', 'X', 'Z', 0),
    new Beginning("a zip archive", UNPACK, 'P', 'K', 3, 4),
    new Beginning("bzip2 data", UNPACK, 'B', 'Z', 'h', '9', '1', 'A', 'Y', '&', 'S', 'Y'),
  };

  private TextFiles() {}

  /**
   * The bytes of a text without the byte order mark that it may begin with.
   *
   * @param in the text from its beginning
   * @param name of the file, for messages
   * @throws ForeignTextException if it begins as no UTF-8 text does: one sentence naming the file
   */
  public static InputStream withoutMark(InputStream in, String name) throws IOException {
    byte[] begin = in.readNBytes(LOOK);
    for (Beginning foreign : FOREIGN) {
      if (foreign.is(begin)) {
        throw new ForeignTextException(
            "%s holds %s, not UTF-8 text: %s".formatted(name, foreign.kind, foreign.advice));
      }
    }
    PushbackInputStream text = new PushbackInputStream(in, LOOK);
    int skipped = hasMark(begin) ? UTF8_MARK.length : 0;
    text.unread(begin, skipped, begin.length - skipped);
    return text;
  }

  /**
   * A small file's text without its byte order mark.
   *
   * @throws ForeignTextException if it is no UTF-8 text: one sentence naming the file
   * @throws IOException as the system has it if the file cannot be read
   */
  public static String read(Path file) throws IOException {
    byte[] bytes;
    try (InputStream in = withoutMark(Files.newInputStream(file), file.toString())) {
      bytes = in.readAllBytes();
    }
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException notUtf8) {
      throw new ForeignTextException("%s is no UTF-8 text".formatted(file));
    }
  }

  private static boolean hasMark(byte[] begin) {
    return begin.length >= UTF8_MARK.length
        && Arrays.equals(begin, 0, UTF8_MARK.length, UTF8_MARK, 0, UTF8_MARK.length);
  }

  /** Says in one sentence which file holds what instead of UTF-8 text. */
  public static final class ForeignTextException extends IOException {
    ForeignTextException(String sentence) {
      super(sentence);
    }
  }
}
