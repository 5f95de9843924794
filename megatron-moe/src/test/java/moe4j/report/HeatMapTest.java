package moe4j.report;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;
import moe4j.record.ExpertLoad;
import moe4j.record.RunHistory.LoadPoint;
import moe4j.record.RunHistory.Moment;
import org.testng.annotations.Test;

public class HeatMapTest {
  private static final int OVER = 0xffe8590c;
  private static final int UNDER = 0xff1971c2;

  private static LoadPoint point(int step, ExpertLoad.Layer... layers) {
    return new LoadPoint(new Moment(step, step, step, step), new ExpertLoad(List.of(layers)));
  }

  private static String attribute(String svg, String name) {
    Matcher matcher = Pattern.compile(" %s=\"([^\"]*)\"".formatted(name)).matcher(svg);
    assertTrue(matcher.find(), name);
    return matcher.group(1);
  }

  private static BufferedImage image(String svg) throws IOException {
    String data = attribute(svg, "href").replace("data:image/png;base64,", "");
    return ImageIO.read(new ByteArrayInputStream(Base64.getDecoder().decode(data)));
  }

  /** Rows are experts, columns are points; a layer has a picture of its own. */
  @Test
  public void overTime() throws IOException {
    List<String> pictures =
        HeatMap.overTime(
            List.of(
                point(
                    10,
                    new ExpertLoad.Layer(1, List.of(8L, 0L, 4L), 0),
                    new ExpertLoad.Layer(3, List.of(4L, 4L, 4L), 0)),
                point(
                    20,
                    new ExpertLoad.Layer(1, List.of(0L, 8L, 4L), 0),
                    new ExpertLoad.Layer(3, List.of(12L, 0L, 0L), 0))));
    assertEquals(pictures.size(), 2);
    int[][][] expected = {
      {{OVER, UNDER}, {UNDER, OVER}, {0, 0}}, {{0, OVER}, {0, UNDER}, {0, UNDER}}
    };
    for (int l = 0; l < 2; l++) {
      assertEquals(attribute(pictures.get(l), "data-layer"), l == 0 ? "1" : "3");
      assertEquals(attribute(pictures.get(l), "data-experts"), "3");
      assertEquals(attribute(pictures.get(l), "data-steps"), "10 20");
      BufferedImage image = image(pictures.get(l));
      assertEquals(image.getWidth(), 2);
      assertEquals(image.getHeight(), 3);
      for (int e = 0; e < 3; e++) {
        for (int c = 0; c < 2; c++) {
          int argb = image.getRGB(c, e);
          // What is clear has no colour.
          assertEquals(argb >>> 24 == 0 ? 0 : argb, expected[l][e][c], l + " " + e + " " + c);
        }
      }
    }
  }

  /** With more points than columns a column is of several together, and none is passed over. */
  @Test
  public void manyPoints() throws IOException {
    List<LoadPoint> points = new ArrayList<>();
    for (int i = 1; i <= 480; i++) {
      List<Long> tokens = new ArrayList<>(Collections.nCopies(96, 0L));
      // Three points together are balanced, whereas each alone leaves two thirds idle.
      for (int e = 0; e < 96; e++) {
        tokens.set(e, e % 3 == i % 3 ? 30L : 0L);
      }
      points.add(point(i, new ExpertLoad.Layer(0, tokens, 0)));
    }
    String svg = HeatMap.overTime(points).get(0);
    BufferedImage image = image(svg);
    assertEquals(image.getWidth(), 160);
    assertEquals(image.getHeight(), 96);
    for (int c = 0; c < 160; c++) {
      for (int e = 0; e < 96; e++) {
        assertEquals(image.getRGB(c, e) >>> 24, 0, "column " + c + ", expert " + e);
      }
    }
    List<String> steps = List.of(attribute(svg, "data-steps").split(" ", -1));
    assertEquals(steps.size(), 160);
    assertEquals(steps.get(0), "3");
    assertEquals(steps.get(159), "480");
  }

  @Test
  public void atTheEndTheLastQuarterIsTakenTogether() {
    List<LoadPoint> points = new ArrayList<>();
    for (int i = 0; i < 6; i++) {
      points.add(point(i, new ExpertLoad.Layer(0, List.of(90L, 10L), 0)));
    }
    points.add(point(6, new ExpertLoad.Layer(0, List.of(10L, 20L), 0)));
    points.add(point(7, new ExpertLoad.Layer(0, List.of(50L, 20L), 0)));
    String svg = HeatMap.atEnd(points);
    assertTrue(svg.contains("layer 0, expert 0: 1.20 of the mean"), svg);
    assertTrue(svg.contains("layer 0, expert 1: 0.80 of the mean"), svg);
  }
}
