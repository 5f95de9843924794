package moe4j.data;

import java.math.BigDecimal;
import java.math.MathContext;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** {@code --split}: how a dataset's sequences are shared out, in order, to the three parts. */
public final class Split {
  /** What Megatron takes where {@code --split} is absent. */
  public static final String DEFAULT = "969, 30, 1";

  private static final Pattern NUMBER = Pattern.compile("[.0-9]+");

  /** The sequences {@code from..to-1}. */
  public record Range(int from, int to) {
    /** How many sequences these are. */
    public int size() {
      return to - from;
    }
  }

  /** A share of everything, from 0 to 1. */
  private record Share(double from, double to) {}

  private final String text;
  private final Map<Part, Share> shares;

  private Split(String text, Map<Part, Share> shares) {
    this.text = text;
    this.shares = shares;
  }

  /**
   * Reads up to three weights; those that are absent are 0.
   *
   * @throws IllegalArgumentException if there are more than three, none, or all are 0
   */
  public static Split parse(String text) {
    List<Double> weights = new ArrayList<>();
    Matcher numbers = NUMBER.matcher(text);
    while (numbers.find()) {
      try {
        weights.add(Double.parseDouble(numbers.group()));
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException(
            "--split %s: %s is not a number".formatted(text, numbers.group()), e);
      }
    }
    if (weights.size() > 3 || weights.stream().allMatch(w -> w == 0)) {
      throw new IllegalArgumentException(
          "--split takes up to three weights, not all 0, such as \"%s\", but got \"%s\""
              .formatted(DEFAULT, text));
    }
    double[] normal =
        Blend.normalize(Arrays.copyOf(weights.stream().mapToDouble(w -> w).toArray(), 3));
    Map<Part, Share> shares = new EnumMap<>(Part.class);
    double end = 0;
    for (Part part : Part.values()) {
      double begin = end;
      end += normal[shares.size()];
      shares.put(part, new Share(begin, end));
    }
    return new Split(text, shares);
  }

  /** Whether the part's weight is above 0. */
  public boolean gives(Part part) {
    Share share = shares.get(part);
    return share.from < share.to;
  }

  /** The part's share of {@code n} sequences; ends are rounded half to even, as Python does. */
  public Range range(Part part, int n) {
    Share share = shares.get(part);
    return new Range((int) Math.rint(share.from * n), (int) Math.rint(share.to * n));
  }

  /** As given. */
  public String text() {
    return text;
  }

  /** The parts' shares: the same for weights in another unit. */
  public String shares() {
    return shares.values().stream()
        .map(share -> new BigDecimal(share.to - share.from, new MathContext(6)))
        .map(share -> share.stripTrailingZeros().toPlainString())
        .collect(Collectors.joining(", "));
  }

  /** Megatron's {@code split_matrix}, in which the very first book-end is an integer. */
  List<Object> matrix() {
    List<Object> matrix = new ArrayList<>();
    shares.forEach(
        (part, share) -> {
          Object from = part == Part.TRAIN ? (Object) 0 : (Object) share.from;
          matrix.add(gives(part) ? List.of(from, share.to) : null);
        });
    return matrix;
  }
}
