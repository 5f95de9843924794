package moe4j.application.demo;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.TreeMap;
import moe4j.training.run.SaveDirectory;
import moe4j.training.run.SavedRun;

/**
 * The directory of a demo: what lies there of an earlier one is taken up where it has the same
 * flags, and left alone where it has others.
 */
final class DemoDirectory {
  /** The flags that the demo in it was made with. */
  private static final String FLAGS = "demo.json";

  /** What a demo leaves; its flags go last, and keep others away until the rest has gone. */
  private static final List<String> FILES =
      List.of("report.html", "loss.png", "metrics.jsonl", "dense", "experts", FLAGS);

  private static final ObjectMapper JSON = new ObjectMapper();

  private DemoDirectory() {}

  /**
   * Makes a directory ready for a demo with such flags.
   *
   * @param flags what makes its results what they are, by name
   * @param overwrite whether another demo that lies there makes room
   * @return where that one lies now; empty where there was none
   * @throws IllegalArgumentException where another lies there: one sentence with the ways on
   */
  static Optional<Path> open(Path directory, Map<String, String> flags, boolean overwrite)
      throws IOException {
    Files.createDirectories(directory);
    Optional<Map<String, String>> before = read(directory.resolve(FLAGS));
    if (before.filter(flags::equals).isPresent() && !overwrite) {
      return Optional.empty();
    }
    String there = before.isPresent() ? differences(before.get(), flags) : stranger(directory);
    if (there != null && !overwrite) {
      throw new IllegalArgumentException(
          ("--output-dir %s holds %s: another --output-dir leaves it alone, and --overwrite starts"
                  + " anew and keeps it in %s")
              .formatted(directory, there, directory.resolve("old-...")));
    }
    Optional<Path> moved = overwrite ? SaveDirectory.moveAside(directory, FILES) : Optional.empty();
    Path beside = directory.resolve(FLAGS + ".tmp");
    Files.write(beside, JSON.writeValueAsBytes(flags));
    Files.move(
        beside,
        directory.resolve(FLAGS),
        StandardCopyOption.ATOMIC_MOVE,
        StandardCopyOption.REPLACE_EXISTING);
    return moved;
  }

  private static Optional<Map<String, String>> read(Path file) throws IOException {
    if (!Files.exists(file)) {
      return Optional.empty();
    }
    try {
      return Optional.of(
          JSON.readValue(
              Files.readAllBytes(file), new TypeReference<TreeMap<String, String>>() {}));
    } catch (JsonProcessingException e) {
      throw new IOException(
          "%s does not say what the demo there was made with: delete it or name another --output-dir"
              .formatted(file),
          e);
    }
  }

  private static String differences(Map<String, String> before, Map<String, String> now) {
    List<String> differing = new ArrayList<>();
    now.forEach(
        (name, value) -> {
          if (!Objects.equals(before.get(name), value)) {
            differing.add("--%s %s and not %s".formatted(name, before.get(name), value));
          }
        });
    return "a demo with " + String.join(", ", differing);
  }

  /** What lies there that no flags are told of; null where there is nothing. */
  private static String stranger(Path directory) throws IOException {
    for (String name : List.of("dense", "experts")) {
      Optional<SavedRun> run =
          SavedRun.in(directory.resolve(name)).filter(SavedRun::hasCheckpoints);
      if (run.isPresent()) {
        return run.get().describe() + ", in " + name;
      }
    }
    for (String name : List.of("report.html", "loss.png")) {
      if (Files.exists(directory.resolve(name))) {
        return "a %s that is not a demo's".formatted(name);
      }
    }
    return null;
  }
}
