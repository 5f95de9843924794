package moe4j.data;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Locale;

/** What lies where something is to be written. */
public final class Existing {
  private static final DateTimeFormatter DATE =
      DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm", Locale.ROOT);

  private Existing() {}

  /** The file with its size and date: {@code o/c.bin (12345 bytes, of 2026-01-31 12:00)}. */
  public static String describe(Path path) {
    try {
      String date =
          DATE.format(Files.getLastModifiedTime(path).toInstant().atZone(ZoneId.systemDefault()));
      return Files.isDirectory(path)
          ? "%s (a directory, of %s)".formatted(path, date)
          : "%s (%d bytes, of %s)".formatted(path, Files.size(path), date);
    } catch (IOException gone) {
      return path.toString();
    }
  }

  /**
   * Nothing that exists is replaced unasked.
   *
   * @param flag the flag and its value that lead there
   * @param otherwise what else can be done than {@code --overwrite}
   * @throws IllegalArgumentException naming the first of the files that exists
   */
  public static void refuse(List<Path> files, String flag, String otherwise) {
    files.stream()
        .filter(Files::exists)
        .findFirst()
        .ifPresent(
            file -> {
              throw new IllegalArgumentException(
                  "%s: %s is there already and is not replaced: %s, or give --overwrite, which keeps it until the new one is whole"
                      .formatted(flag, describe(file), otherwise));
            });
  }
}
