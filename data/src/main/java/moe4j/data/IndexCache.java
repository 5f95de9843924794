package moe4j.data;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * Megatron's files of indices: {@code DIR/MD5-CLASS-PART-AFFIX}, where the MD5 is that of a
 * description of all that the indices depend on, which lies beside them.
 */
final class IndexCache {
  private static final String DESCRIPTION = "description.txt";

  /** The temporary name of any such file. */
  private static final Pattern PART = Pattern.compile("[0-9a-f]{32}-.*\\.[0-9]+\\.part");

  private final Path dir;
  private final String description;
  private final String name;
  private final String title;
  private final Consumer<String> log;

  /**
   * @param dir where the files lie, or null for no files
   * @param identifiers what the indices depend on; first of all the class
   */
  IndexCache(Path dir, Map<String, Object> identifiers, Part part, Consumer<String> log) {
    this.dir = dir;
    this.description = PythonJson.dumps(identifiers);
    this.name = md5(description) + "-" + identifiers.get("class") + "-" + part.label() + "-";
    this.title = identifiers.get("class") + " " + part.label();
    this.log = log;
  }

  /** Reads what an index is made of. */
  interface Loader<T> {
    /** Throws where a file cannot be right. */
    T load() throws IOException;
  }

  /** The index from its files, or else built and written; what happens is logged. */
  <T> T get(Loader<T> loader, Supplier<T> builder, Function<T, Map<String, Npy.NpyArray>> arrays) {
    if (dir != null && Files.isRegularFile(path(DESCRIPTION))) {
      try {
        if (!Files.readString(path(DESCRIPTION)).equals(description)) {
          throw new IOException(path(DESCRIPTION) + " describes other indices");
        }
        T loaded = loader.load();
        log.accept("Load the %s indices from %s".formatted(title, dir));
        return loaded;
      } catch (IOException e) {
        log.accept("Build the %s indices again: %s".formatted(title, reason(e)));
      }
    }
    T built = builder.get();
    if (dir != null) {
      try {
        write(arrays.apply(built));
        log.accept("Build and save the %s indices in %s".formatted(title, dir));
      } catch (IOException e) {
        log.accept("The %s indices are not saved: %s".formatted(title, reason(e)));
      }
    }
    return built;
  }

  /** Where an array of the index lies. */
  Path path(String affix) {
    return dir.resolve(name + affix);
  }

  private void write(Map<String, Npy.NpyArray> arrays) throws IOException {
    Files.createDirectories(dir);
    PartFile.sweep(dir, name -> PART.matcher(name).matches(), log);
    // The description comes last: where it stands, the rest does.
    for (Map.Entry<String, Npy.NpyArray> entry : arrays.entrySet()) {
      replace(entry.getKey(), file -> Npy.write(file, entry.getValue()));
    }
    replace(
        DESCRIPTION,
        file -> file.write(ByteBuffer.wrap(description.getBytes(StandardCharsets.UTF_8))));
  }

  private interface Writer {
    void write(FileChannel file) throws IOException;
  }

  /** Several processes may write at once, all the same content, each under a name of its own. */
  private void replace(String affix, Writer writer) throws IOException {
    Path path = dir.resolve(name + affix + "." + ProcessHandle.current().pid() + ".part");
    try (PartFile part = PartFile.open(path, log)) {
      writer.write(part.channel());
      part.moveTo(path(affix));
    }
  }

  private static String reason(IOException e) {
    return e.getMessage()
        + (e.getClass() == IOException.class ? "" : " (" + e.getClass().getSimpleName() + ")");
  }

  private static String md5(String text) {
    try {
      byte[] digest =
          MessageDigest.getInstance("MD5").digest(text.getBytes(StandardCharsets.UTF_8));
      return HexFormat.of().formatHex(digest);
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every Java platform has MD5", e);
    }
  }
}
