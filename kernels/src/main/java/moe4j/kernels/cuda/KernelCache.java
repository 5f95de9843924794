package moe4j.kernels.cuda;

import java.io.IOException;
import java.lang.System.Logger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.TreeMap;
import java.util.function.Supplier;

/**
 * Compiled kernels on disk, shared by all processes of a user. A file is a SHA-256 of its key and
 * its code, then the code: one that is damaged, cut short or another's is compiled anew and
 * replaced. A directory that cannot be written only costs the compilation.
 */
final class KernelCache {
  private static final Logger LOG = System.getLogger(KernelCache.class.getName());
  private static final int CHECKSUM = 32;

  private final Path directory;

  KernelCache(Path directory) {
    this.directory = directory;
  }

  /**
   * The user's cache: {@code moe4j/kernels} in {@code $XDG_CACHE_HOME}, by default {@code
   * ~/.cache}, or what the system property {@code moe4j.kernel.cache} names.
   */
  static KernelCache ofUser() {
    return new KernelCache(
        directory(
            System.getProperty("moe4j.kernel.cache"),
            System.getenv("XDG_CACHE_HOME"),
            System.getProperty("user.home")));
  }

  /** A relative XDG_CACHE_HOME is to be ignored, its specification says. */
  static Path directory(String property, String xdg, String home) {
    if (property != null && !property.isBlank()) {
      return Path.of(property);
    }
    Path base =
        xdg != null && Path.of(xdg).isAbsolute() ? Path.of(xdg) : Path.of(home).resolve(".cache");
    return base.resolve("moe4j").resolve("kernels");
  }

  /** A hash of all that the code depends on. */
  static String key(
      KernelSource source, List<String> defines, String architecture, String compiler) {
    MessageDigest digest = sha256();
    add(digest, source.name());
    add(digest, source.text());
    new TreeMap<>(source.headers())
        .forEach(
            (name, text) -> {
              add(digest, name);
              add(digest, text);
            });
    // So that a header is never taken for a define.
    add(digest, "defines " + defines.size());
    defines.forEach(define -> add(digest, define));
    add(digest, architecture);
    add(digest, compiler);
    return HexFormat.of().formatHex(digest.digest());
  }

  /** What is kept under the key; otherwise what {@code compile} makes, which is then kept. */
  byte[] get(String key, Supplier<byte[]> compile) {
    Path file = directory.resolve(key + ".cubin");
    byte[] code = read(file, key);
    if (code == null) {
      code = compile.get();
      write(file, key, code);
    }
    return code;
  }

  private static byte[] read(Path file, String key) {
    if (!Files.isRegularFile(file)) {
      return null;
    }
    try {
      byte[] bytes = Files.readAllBytes(file);
      if (bytes.length > CHECKSUM) {
        byte[] code = Arrays.copyOfRange(bytes, CHECKSUM, bytes.length);
        if (Arrays.equals(Arrays.copyOf(bytes, CHECKSUM), checksum(key, code))) {
          return code;
        }
      }
      LOG.log(Logger.Level.DEBUG, "{0} is damaged and is compiled anew", file);
    } catch (IOException e) {
      LOG.log(Logger.Level.DEBUG, "a compiled kernel cannot be read", e);
    }
    return null;
  }

  /** A file of its own, renamed when it is whole: nobody sees half of one. */
  private void write(Path file, String key, byte[] code) {
    try {
      Files.createDirectories(directory);
      Path part = Files.createTempFile(directory, "part", ".tmp");
      try {
        byte[] checksum = checksum(key, code);
        byte[] bytes = Arrays.copyOf(checksum, CHECKSUM + code.length);
        System.arraycopy(code, 0, bytes, CHECKSUM, code.length);
        Files.write(part, bytes);
        Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
      } finally {
        Files.deleteIfExists(part);
      }
    } catch (IOException e) {
      LOG.log(Logger.Level.DEBUG, "a compiled kernel cannot be kept", e);
    }
  }

  private static byte[] checksum(String key, byte[] code) {
    MessageDigest digest = sha256();
    add(digest, key);
    return digest.digest(code);
  }

  private static void add(MessageDigest digest, String part) {
    byte[] bytes = part.getBytes(StandardCharsets.UTF_8);
    digest.update((bytes.length + ":").getBytes(StandardCharsets.UTF_8));
    digest.update(bytes);
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every Java has SHA-256", e);
    }
  }
}
