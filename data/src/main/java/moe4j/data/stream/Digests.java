package moe4j.data.stream;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** The hashes of this package. */
final class Digests {
  private Digests() {}

  static MessageDigest md5() {
    return of("MD5");
  }

  static String hex(MessageDigest digest) {
    return HexFormat.of().formatHex(digest.digest());
  }

  /** The first 8 bytes of the SHA-256, in hex. */
  static String shortSha256(byte[] bytes) {
    return HexFormat.of().formatHex(of("SHA-256").digest(bytes), 0, 8);
  }

  private static MessageDigest of(String algorithm) {
    try {
      return MessageDigest.getInstance(algorithm);
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every Java platform has " + algorithm, e);
    }
  }
}
