package moe4j.report;

import java.util.ArrayList;
import java.util.List;
import java.util.function.ToDoubleFunction;

/**
 * Points of a line in a chart, by ascending x.
 *
 * @param name what the legend and the tooltip call it
 * @param colour number of the run, which chooses the colour
 * @param kind how it is drawn
 */
record Curve(String name, int colour, Kind kind, List<Double> x, List<Double> y) {

  enum Kind {
    /** As measured, faint behind the smoothed line. */
    RAW,
    /** One of many that a mean stands for. */
    THIN,
    /** A plain line. */
    LINE,
    /** A line with a mark at each point. */
    MARKED;

    /** Whether the tooltip reads it. */
    boolean named() {
      return this == LINE || this == MARKED;
    }
  }

  /** More points than a chart has pixels only make the file large. */
  private static final int MOST_POINTS = 1000;

  Curve {
    x = List.copyOf(x);
    y = List.copyOf(y);
  }

  static <P> Curve of(
      String name,
      int colour,
      Kind kind,
      List<P> points,
      ToDoubleFunction<P> x,
      ToDoubleFunction<P> y) {
    List<Double> xs = new ArrayList<>();
    List<Double> ys = new ArrayList<>();
    for (P point : points) {
      if (Double.isFinite(y.applyAsDouble(point))) {
        xs.add(x.applyAsDouble(point));
        ys.add(y.applyAsDouble(point));
      }
    }
    return new Curve(name, colour, kind, xs, ys);
  }

  int size() {
    return x.size();
  }

  boolean isEmpty() {
    return x.isEmpty();
  }

  /**
   * The same smoothed by a centred Gaussian window, its deviation a fiftieth of the points, which
   * does not lag behind as a running mean does.
   */
  Curve smoothed() {
    double sigma = size() / 50.0;
    if (sigma < 0.5) {
      return new Curve(name, colour, Kind.LINE, x, y);
    }
    int reach = (int) Math.ceil(3 * sigma);
    List<Double> smooth = new ArrayList<>();
    for (int i = 0; i < size(); i++) {
      // The window shrinks evenly towards the ends: a lopsided one would bend a falling curve.
      int r = Math.min(reach, Math.min(i, size() - 1 - i));
      double sum = 0;
      double weights = 0;
      for (int j = i - r; j <= i + r; j++) {
        double weight = Math.exp(-0.5 * (j - i) * (j - i) / (sigma * sigma));
        sum += weight * y.get(j);
        weights += weight;
      }
      smooth.add(sum / weights);
    }
    return new Curve(name, colour, Kind.LINE, x, smooth);
  }

  /** The same with few enough points to draw: of each stretch the least and the greatest. */
  Curve thinned() {
    if (size() <= MOST_POINTS) {
      return this;
    }
    List<Double> xs = new ArrayList<>();
    List<Double> ys = new ArrayList<>();
    int stretches = MOST_POINTS / 2;
    for (int s = 0; s < stretches; s++) {
      int from = (int) ((long) size() * s / stretches);
      int to = (int) ((long) size() * (s + 1) / stretches);
      int least = from;
      int greatest = from;
      for (int i = from; i < to; i++) {
        least = y.get(i) < y.get(least) ? i : least;
        greatest = y.get(i) > y.get(greatest) ? i : greatest;
      }
      for (int i : new int[] {Math.min(least, greatest), Math.max(least, greatest)}) {
        xs.add(x.get(i));
        ys.add(y.get(i));
      }
    }
    return new Curve(name, colour, kind, xs, ys);
  }
}
