package moe4j.kernels.cuda;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A kernel's source with the headers it includes, all of them resources beside each other; nothing
 * is included from disk.
 *
 * @param name such as {@code norm.cu}
 * @param headers text by name, of what is included directly and by headers
 */
record KernelSource(String name, String text, Map<String, String> headers) {
  private static final Pattern INCLUDE =
      Pattern.compile("^[ \\t]*#[ \\t]*include[ \\t]*\"([^\"]+)\"", Pattern.MULTILINE);

  KernelSource {
    headers = Map.copyOf(headers);
  }

  /**
   * Reads a source and all that it includes.
   *
   * @throws IllegalStateException where one of them is no resource
   */
  static KernelSource read(String name) {
    String text = resource(name, "");
    Map<String, String> headers = new TreeMap<>();
    include(name, text, headers);
    return new KernelSource(name, text, headers);
  }

  private static void include(String name, String text, Map<String, String> headers) {
    Matcher matcher = INCLUDE.matcher(text);
    while (matcher.find()) {
      String header = matcher.group(1);
      if (!headers.containsKey(header)) {
        String included = resource(header, ", included by " + name);
        headers.put(header, included);
        include(header, included, headers);
      }
    }
  }

  private static String resource(String name, String wanted) {
    try (InputStream in = KernelSource.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IllegalStateException("There is no kernel source " + name + wanted + ".");
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException("the kernel source " + name, e);
    }
  }
}
