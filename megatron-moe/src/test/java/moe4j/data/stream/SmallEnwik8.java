package moe4j.data.stream;

import java.net.URI;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;

/** A corpus that is to enwik8 as a test is to the real thing: 9000, 500 and 500 bytes. */
public final class SmallEnwik8 {
  private SmallEnwik8() {}

  /** Letters, spaces and newlines: 28 different bytes. */
  public static byte[] bytes(Random random) {
    byte[] bytes = new byte[10_000];
    for (int i = 0; i < bytes.length; i++) {
      int letter = random.nextInt(28);
      bytes[i] = (byte) (letter == 27 ? '\n' : letter == 26 ? ' ' : 'a' + letter);
    }
    return bytes;
  }

  /** Its MD5 in hex. */
  public static String md5(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e);
    }
  }

  /** What prepares it. */
  public static Enwik8 of(byte[] bytes, URI uri, Consumer<String> log) {
    return new Enwik8(
        new Enwik8.Expected("enwik8", md5(bytes), new SplitBytes(9000, 500, 500)),
        List.of(uri),
        new Enwik8.Timing(Duration.ofSeconds(30), Duration.ofSeconds(5)),
        UnaryOperator.identity(),
        log);
  }
}
