package moe4j.cli;

import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import moe4j.moe.bench.BenchShape;
import moe4j.moe.bench.LayerBench;
import moe4j.moe.bench.LayerBench.Way;
import moe4j.moe.bench.LayerErrors;
import moe4j.moe.bench.LayerTimes;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What {@code bench moe} prints of one layer. */
final class LayerTable {
  private LayerTable() {}

  /** Prints a layer's times and errors; returns whether the errors are those of a sound one. */
  static boolean print(BenchShape shape, LayerBench.Setting setting) {
    System.out.println(shape);
    System.out.println(LayerTimes.header());
    try (LayerBench bench = new LayerBench(shape, setting)) {
      LayerErrors errors = bench.errors();
      Map<Way, List<LayerTimes>> all = new EnumMap<>(Way.class);
      for (Way way : bench.ways()) {
        all.put(way, bench.time(way));
        all.get(way).forEach(System.out::println);
      }
      System.out.println(errors);
      bench.counted().lines().forEach(System.out::println);
      System.out.println(against("MoE takes", all.get(Way.LAYER), all.get(Way.DENSE), "dense"));
      List<LayerTimes> given = all.get(Way.GIVEN);
      String layer = "MoE with its routing given";
      System.out.println(against("The naive loop takes", all.get(Way.NAIVE), given, layer));
      if (all.containsKey(Way.SORTED)) {
        System.out.println(
            against("Sorting and _grouped_mm take", all.get(Way.SORTED), given, layer));
      } else {
        System.out.printf(
            "Sorting and _grouped_mm are not timed: in %s libtorch takes multiples of %d channels alone%n",
            setting.dtype() == ScalarType.Float ? "fp32" : "bf16",
            setting.dtype() == ScalarType.Float ? 4 : 8);
      }
      if (all.containsKey(Way.LIBTORCH)) {
        System.out.println(
            against(
                "The layer with libtorch's products takes", all.get(Way.LIBTORCH), given, layer));
      }
      if (!errors.within(setting.bound())) {
        System.err.printf(
            Locale.ROOT,
            "moe4j bench moe: the layer's errors are above %.0e: its times are not worth anything%n",
            setting.bound());
        return false;
      }
      return true;
    }
  }

  private static String against(
      String subject, List<LayerTimes> times, List<LayerTimes> base, String other) {
    return String.format(
        Locale.ROOT,
        "%s %.2f times as long as %s, %.2f times with the backward",
        subject,
        times.get(0).median() / base.get(0).median(),
        other,
        times.get(1).median() / base.get(1).median());
  }
}
