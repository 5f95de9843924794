package moe4j.moe.bench;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import moe4j.moe.bench.LayerBench.Way;

/**
 * A layer and what it is compared with over the number of experts, the tokens and what each goes
 * through staying the same: FastMoE's figure 3 (He et al. 2021).
 */
public final class ExpertSweep {
  private static final List<Way> WAYS = List.of(Way.GIVEN, Way.NAIVE, Way.SORTED, Way.DENSE);

  private final BenchShape layer;
  private final LayerBench.Setting setting;
  private final List<Way> ways;
  private final List<Point> points = new ArrayList<>();

  /** A sweep over layers that are like this one but for the number of experts. */
  public ExpertSweep(BenchShape layer, LayerBench.Setting setting) {
    this.layer = layer;
    this.setting = setting;
    boolean sorted = SortedGroups.takes(layer, setting.dtype());
    this.ways = WAYS.stream().filter(way -> way != Way.SORTED || sorted).toList();
  }

  /** All times with so many experts. */
  private record Point(int experts, Map<Way, List<LayerTimes>> times) {
    double millis(Way way, boolean backward) {
      return 1e3 * times.get(way).get(backward ? 1 : 0).median();
    }

    /** How many times as long as the layer the naive loop takes. */
    double lead(boolean backward) {
      return millis(Way.NAIVE, backward) / millis(Way.GIVEN, backward);
    }
  }

  /**
   * A line of the picture.
   *
   * @param name of the way
   * @param backward whether with the backward
   * @param experts numbers of experts
   * @param millis medians
   */
  public record Line(String name, boolean backward, List<Double> experts, List<Double> millis) {}

  /** The names of the columns. */
  public String header() {
    StringBuilder line = new StringBuilder("median ms, forward / forward and backward\nexperts");
    ways.forEach(way -> line.append(" %22s".formatted(way.label())));
    return line.append("  naive loop over MoE").toString();
  }

  /**
   * Times one number of experts.
   *
   * @return its line below {@link #header}
   */
  public String add(int experts) {
    Map<Way, List<LayerTimes>> times = new LinkedHashMap<>();
    try (LayerBench bench = new LayerBench(layer.withExperts(experts), setting)) {
      ways.forEach(way -> times.put(way, bench.time(way)));
    }
    Point point = new Point(experts, times);
    points.add(point);
    StringBuilder line = new StringBuilder("%7d".formatted(point.experts));
    for (Way way : ways) {
      line.append(
          String.format(
              Locale.ROOT,
              " %22s",
              String.format(
                  Locale.ROOT, "%.3f / %.3f", point.millis(way, false), point.millis(way, true))));
    }
    return line.append(
            String.format(Locale.ROOT, "  %.2f / %.2f", point.lead(false), point.lead(true)))
        .toString();
  }

  /** Where the layer is ahead of the naive loop by most: a sentence. */
  public String headline() {
    Point most =
        points.stream().max(Comparator.comparingDouble(point -> point.lead(true))).orElseThrow();
    return String.format(
        Locale.ROOT,
        "With %d experts the naive loop takes %.2f times as long as the layer, forward and"
            + " backward: more than with any other number.",
        most.experts,
        most.lead(true));
  }

  /** The lines of the picture, each way's forward behind its forward with its backward. */
  public List<Line> lines() {
    List<Line> lines = new ArrayList<>();
    for (Way way : ways) {
      for (boolean backward : new boolean[] {true, false}) {
        lines.add(
            new Line(
                way.label(),
                backward,
                points.stream().map(point -> (double) point.experts).toList(),
                points.stream().map(point -> point.millis(way, backward)).toList()));
      }
    }
    return lines;
  }
}
