package moe4j.report;

import java.math.BigDecimal;
import java.math.MathContext;
import java.util.ArrayList;
import java.util.List;

/** A linear axis with ticks at round numbers. */
record Axis(double min, double max, double tick) {

  /** An axis that holds both numbers, with about so many ticks. */
  static Axis around(double min, double max, int ticks) {
    double low = min;
    double high = max;
    if (!(high > low)) {
      double room = low == 0 ? 1 : Math.abs(low) * 0.1;
      low -= room;
      high += room;
    }
    double raw = (high - low) / ticks;
    double power = Math.pow(10, Math.floor(Math.log10(raw)));
    double figure = raw / power;
    double tick = power * (figure <= 1 ? 1 : figure <= 2 ? 2 : figure <= 5 ? 5 : 10);
    return new Axis(low, high, tick);
  }

  /** Where a value lies between the axis' ends: 0 to 1 within them. */
  double at(double value) {
    return (value - min) / (max - min);
  }

  List<Double> ticks() {
    List<Double> ticks = new ArrayList<>();
    for (long i = (long) Math.ceil(min / tick - 1e-9); i * tick <= max + tick * 1e-9; i++) {
      ticks.add(i * tick);
    }
    return ticks;
  }

  /** A tick's number: 2.5, 12k, 300M, 4e-4. */
  String label(double value) {
    if (Math.abs(value) < tick / 2) {
      return "0";
    }
    double size = Math.max(Math.abs(min), Math.abs(max));
    double unit = size >= 1e9 ? 1e9 : size >= 1e6 ? 1e6 : size >= 1e4 ? 1e3 : 1;
    String suffix = unit == 1e9 ? "B" : unit == 1e6 ? "M" : unit == 1e3 ? "k" : "";
    if (size < 1e-2) {
      int exponent = (int) Math.floor(Math.log10(size));
      unit = Math.pow(10, exponent);
      suffix = "e" + exponent;
    }
    return new BigDecimal(value / unit)
            .round(new MathContext(4))
            .stripTrailingZeros()
            .toPlainString()
        + suffix;
  }
}
