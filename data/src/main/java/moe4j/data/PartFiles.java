package moe4j.data;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The files that this process writes under a temporary name, so that one that is interrupted can
 * leave none of them behind.
 */
public final class PartFiles {
  private static final Set<Path> OPEN = ConcurrentHashMap.newKeySet();

  private PartFiles() {}

  /** Notes a file that is about to be written: before it is there. */
  public static Path begin(Path part) {
    OPEN.add(key(part));
    return part;
  }

  /** Forgets a file that has been given its name, or could not be opened. */
  public static void named(Path part) {
    OPEN.remove(key(part));
  }

  /** Whether this process writes the file. */
  static boolean isOpen(Path part) {
    return OPEN.contains(key(part));
  }

  /** One path for a file, however it is spelt. */
  private static Path key(Path part) {
    return part.toAbsolutePath().normalize();
  }

  /** Deletes a file, if it is there, and forgets it. */
  public static void delete(Path part) throws IOException {
    Files.deleteIfExists(part);
    OPEN.remove(key(part));
  }

  /** Deletes all that are noted, as far as that can be done: for the end of the process. */
  public static void deleteAll() {
    for (Path part : OPEN) {
      try {
        delete(part);
      } catch (IOException e) {
        // The process is on its way out; the next one writes the file anew.
      }
    }
  }
}
