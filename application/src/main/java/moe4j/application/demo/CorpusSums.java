package moe4j.application.demo;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** The jars of the demo's corpus, by the sums that {@code sha256sum} gives of them. */
final class CorpusSums {
  private static final String FILE = "corpus.sha256";

  private CorpusSums() {}

  /** The sum of each file, by its name. */
  static Map<String, String> expected() throws IOException {
    Map<String, String> sums = new TreeMap<>();
    try (InputStream in = CorpusSums.class.getResourceAsStream(FILE)) {
      if (in == null) {
        throw new IOException("%s is missing in moe4j's own jar".formatted(FILE));
      }
      new String(in.readAllBytes(), StandardCharsets.UTF_8)
          .lines()
          .map(line -> line.split("\\s+", 2))
          .forEach(words -> sums.put(words[1], words[0]));
    }
    return sums;
  }

  /**
   * Compares what lies in a directory.
   *
   * @throws IOException naming the first jar that is missing, of too many, or another than it
   *     should be
   */
  static void check(Path directory, List<Path> jars) throws IOException {
    Map<String, String> expected = expected();
    for (Path jar : jars) {
      String sum = expected.remove(jar.getFileName().toString());
      if (sum == null) {
        throw new IOException(
            "%s is not one of the jars of the demo's corpus: delete it, or name the directory with --corpus"
                .formatted(jar));
      }
      String found = sha256(jar);
      if (!found.equals(sum)) {
        throw new IOException(
            "%s is not what it should be: its SHA-256 is %s instead of %s; delete it, and ./moe4j fetches it again"
                .formatted(jar, found, sum));
      }
    }
    if (!expected.isEmpty()) {
      throw new IOException(
          "%s lacks %s of the demo's corpus: ./moe4j fetches it when it builds"
              .formatted(directory, expected.keySet().iterator().next()));
    }
  }

  private static String sha256(Path file) throws IOException {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      try (OutputStream out = new DigestOutputStream(OutputStream.nullOutputStream(), digest)) {
        Files.copy(file, out);
      }
      return HexFormat.of().formatHex(digest.digest());
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every Java platform has SHA-256", e);
    }
  }
}
