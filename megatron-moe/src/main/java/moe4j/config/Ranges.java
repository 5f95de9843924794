package moe4j.config;

/**
 * Checks of one flag's value, each with the sentence that it is refused with, whatever the flag.
 */
public final class Ranges {
  /** More than machines have; so many more than a machine has would keep it from its work. */
  private static final int MOST_THREADS = 1024;

  private Ranges() {}

  /**
   * Refuses a number of threads, {@code --num-threads}, that no machine has.
   *
   * @param value null where the flag is not given
   * @throws IllegalArgumentException in one sentence
   */
  public static void threads(Integer value) {
    positive("num-threads", value);
    if (value != null && value > MOST_THREADS) {
      throw new IllegalArgumentException(
          "--num-threads %d is more than the %d that are taken at most"
              .formatted(value, MOST_THREADS));
    }
  }

  /**
   * Refuses zero, what is negative and what is no number.
   *
   * @param flag its name without dashes
   * @param value null for a flag that is not given, which is not refused
   * @throws IllegalArgumentException in one sentence
   */
  public static void positive(String flag, Number value) {
    if (value != null && !(value.doubleValue() > 0)) {
      throw new IllegalArgumentException("--%s %s is not positive".formatted(flag, value));
    }
  }

  /**
   * Refuses what is below zero and what is no number.
   *
   * @param flag its name without dashes
   * @throws IllegalArgumentException in one sentence
   */
  public static void notNegative(String flag, Number value) {
    if (!(value.doubleValue() >= 0)) {
      throw new IllegalArgumentException("--%s %s is negative".formatted(flag, value));
    }
  }

  /**
   * The arithmetic behind a number that is no multiple of another, such as {@code : 5 = 2 x 2 + 1};
   * empty where it is below the other, which says enough.
   */
  public static String division(long value, long parts) {
    return value < parts
        ? ""
        : ": %d = %d x %d + %d".formatted(value, value / parts, parts, value % parts);
  }

  /**
   * Refuses what is no probability below 1.
   *
   * @param flag its name without dashes
   * @throws IllegalArgumentException in one sentence
   */
  public static void belowOne(String flag, double value) {
    if (!(value >= 0 && value < 1)) {
      throw new IllegalArgumentException("--%s %s is not in [0, 1)".formatted(flag, value));
    }
  }
}
