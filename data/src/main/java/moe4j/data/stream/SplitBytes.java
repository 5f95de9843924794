package moe4j.data.stream;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.data.Part;

/**
 * How a file of bytes is cut: train from its beginning, valid after it, test after that; the bytes
 * that are left after test are not used.
 *
 * @param train bytes, more than 0
 * @param valid bytes, or 0 for no such part
 * @param test bytes, or 0 for no such part
 */
public record SplitBytes(long train, long valid, long test) {
  /** What a part may hold: a Java array. */
  static final long MOST = Integer.MAX_VALUE - 8;

  private static final Pattern TEXT = Pattern.compile("(\\d{1,18}),(\\d{1,18}),(\\d{1,18})");

  /** enwik8's: 90, 5 and 5 million bytes. */
  public static final SplitBytes ENWIK8 = new SplitBytes(90_000_000, 5_000_000, 5_000_000);

  /**
   * @throws IllegalArgumentException for sizes that cannot be: one sentence naming {@code
   *     --split-bytes}
   */
  public SplitBytes {
    if (train < 1 || valid < 0 || test < 0) {
      throw new IllegalArgumentException(
          "--split-bytes %d,%d,%d: TRAIN is to be positive, VALID and TEST not negative"
              .formatted(train, valid, test));
    }
    if (Math.max(train, Math.max(valid, test)) > MOST) {
      throw new IllegalArgumentException(
          "--split-bytes %d,%d,%d: a part is held in memory and has at most %d bytes"
              .formatted(train, valid, test, MOST));
    }
  }

  /**
   * Reads {@code TRAIN,VALID,TEST}.
   *
   * @throws IllegalArgumentException for another text, or sizes that cannot be: one sentence
   */
  public static SplitBytes parse(String text) {
    Matcher sizes = TEXT.matcher(text);
    if (!sizes.matches()) {
      throw new IllegalArgumentException(
          "--split-bytes takes three sizes in bytes as TRAIN,VALID,TEST, such as %s, not '%s'"
              .formatted(ENWIK8, text));
    }
    return new SplitBytes(
        Long.parseLong(sizes.group(1)),
        Long.parseLong(sizes.group(2)),
        Long.parseLong(sizes.group(3)));
  }

  /** Bytes of a part. */
  public long of(Part part) {
    return switch (part) {
      case TRAIN -> train;
      case VALID -> valid;
      case TEST -> test;
    };
  }

  /** Bytes of all three. */
  public long sum() {
    return train + valid + test;
  }

  /** As it is typed. */
  @Override
  public String toString() {
    return "%d,%d,%d".formatted(train, valid, test);
  }
}
