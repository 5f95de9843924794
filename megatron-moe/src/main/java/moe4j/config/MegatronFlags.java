package moe4j.config;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * The flags of Megatron-LM that have no meaning here, each with the reason: so that a command line
 * carried over from there is refused by name and not silently bent.
 */
final class MegatronFlags {
  private static final String TABLE = "megatron-flags.txt";
  private static final Map<String, String> REASONS = read();

  private MegatronFlags() {}

  /** Why this flag is not taken, or null where it is none of Megatron's. */
  static String reason(String name) {
    return REASONS.get(name);
  }

  private static Map<String, String> read() {
    Map<String, String> reasons = new HashMap<>();
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(
                MegatronFlags.class.getResourceAsStream(TABLE), StandardCharsets.UTF_8))) {
      String reason = "";
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        if (line.startsWith("# ")) {
          reason = line.substring(2);
        } else if (!line.isBlank()) {
          for (String name : line.trim().split("\\s+")) {
            reasons.put(name, reason);
          }
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(TABLE, e);
    }
    return reasons;
  }
}
