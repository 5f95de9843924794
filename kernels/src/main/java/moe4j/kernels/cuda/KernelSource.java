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
 * A kernel's source with the headers it includes, all of them resources beside the Java of their
 * topic; nothing is included from disk. A header is looked for beside the source, then among those
 * that all topics share, which lie beside this class.
 *
 * @param name topic and file, such as {@code norm/norm.cu}
 * @param headers text by the name it is included by, of what is included directly and by headers
 */
record KernelSource(String name, String text, Map<String, String> headers) {
  /** Where the topics are, seen from the root of the class path. */
  private static final String TOPICS = "/moe4j/kernels/";

  private static final String SHARED = "cuda/";

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
    String text = resource(name);
    if (text == null) {
      throw new IllegalStateException("There is no kernel source " + name + ".");
    }
    Map<String, String> headers = new TreeMap<>();
    include(name.substring(0, name.lastIndexOf('/') + 1), name, text, headers);
    return new KernelSource(name, text, headers);
  }

  private static void include(String topic, String name, String text, Map<String, String> headers) {
    Matcher matcher = INCLUDE.matcher(text);
    while (matcher.find()) {
      String header = matcher.group(1);
      if (!headers.containsKey(header)) {
        String included = header(topic, header, name);
        headers.put(header, included);
        include(topic, header, included, headers);
      }
    }
  }

  private static String header(String topic, String header, String name) {
    String own = resource(topic + header);
    String found = own != null ? own : resource(SHARED + header);
    if (found == null) {
      throw new IllegalStateException(
          "There is no kernel source " + header + ", included by " + name + ".");
    }
    return found;
  }

  private static String resource(String name) {
    try (InputStream in = KernelSource.class.getResourceAsStream(TOPICS + name)) {
      return in == null ? null : new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException("The kernel source " + name + " cannot be read.", e);
    }
  }
}
