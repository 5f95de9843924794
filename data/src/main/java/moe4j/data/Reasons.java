package moe4j.data;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;

/** Words for what the system refuses: some of the JDK's exceptions are but a path. */
public final class Reasons {
  private Reasons() {}

  /** Why, without the file's name where the JDK keeps the two apart. */
  public static String of(IOException e) {
    if (e instanceof NoSuchFileException) {
      return "there is no such file or directory";
    }
    if (e instanceof AccessDeniedException) {
      return "permission denied";
    }
    if (e instanceof FileAlreadyExistsException exists) {
      return exists.getFile() + " exists and is no directory";
    }
    String words = e instanceof FileSystemException refused ? refused.getReason() : e.getMessage();
    return words == null ? e.toString() : words;
  }
}
