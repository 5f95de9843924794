package moe4j.report;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.function.Supplier;
import javax.imageio.ImageIO;

/** Files that are written whole or not at all, and pictures, which need XChart and a font. */
final class PictureFile {
  private static final String XCHART = "org.knowm.xchart.XYChart";

  private PictureFile() {}

  /**
   * Draws and writes a picture.
   *
   * @param told what is there without it, with which a sentence of what is missing begins
   * @throws IOException if it cannot be written, or if the machine has no font or the class path no
   *     XChart to draw it with
   */
  static void write(Path file, String told, Supplier<BufferedImage> picture) throws IOException {
    String missing = "%s, but %s needs ".formatted(told, file.getFileName());
    try {
      Class.forName(XCHART, false, PictureFile.class.getClassLoader());
    } catch (ClassNotFoundException absent) {
      throw new IOException(
          missing
              + "the artifact org.knowm.xchart:xchart on the class path: add it, or"
              + " moe4j-application, which brings it",
          absent);
    }
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try {
      ImageIO.write(picture.get(), "png", bytes);
    } catch (InternalError | LinkageError e) {
      // What the JDK throws where fontconfig finds no font, or its libraries are not installed.
      throw new IOException(
          missing
              + "a font and Java finds none here (on Debian and Ubuntu: apt-get install fontconfig"
              + " fonts-dejavu-core)",
          e);
    }
    replace(file, bytes.toByteArray());
  }

  /** Writes a file beside its place and moves it there. */
  static void replace(Path file, byte[] bytes) throws IOException {
    Path beside = file.resolveSibling(file.getFileName() + ".tmp");
    Files.write(beside, bytes);
    Files.move(beside, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }
}
