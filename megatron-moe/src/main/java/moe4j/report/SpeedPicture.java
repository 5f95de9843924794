package moe4j.report;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** The times of an MoE layer and of what it is compared with, over the number of experts. */
public final class SpeedPicture {
  private SpeedPicture() {}

  /**
   * A line.
   *
   * @param name of what was timed; lines of one name have one colour
   * @param backward whether with the backward
   * @param experts numbers of experts
   * @param millis medians
   */
  public record Line(String name, boolean backward, List<Double> experts, List<Double> millis) {
    /** Copies the lists. */
    public Line {
      experts = List.copyOf(experts);
      millis = List.copyOf(millis);
    }
  }

  /**
   * Draws lines over logarithmic axes: both ways solid, the forward alone dashed.
   *
   * @param file a PNG, whose directory is made
   * @param title above the picture
   * @throws IOException if it cannot be written, or if the machine has no font or the class path no
   *     XChart to draw it with
   */
  public static void write(Path file, String title, List<Line> lines) throws IOException {
    Files.createDirectories(file.toAbsolutePath().getParent());
    PictureFile.write(file, "The times are printed", () -> SpeedChart.of(title, lines));
  }
}
