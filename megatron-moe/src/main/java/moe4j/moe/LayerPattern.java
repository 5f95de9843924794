package moe4j.moe;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Which layers have experts, as {@code --moe-layer-freq} says it. */
final class LayerPattern {
  private static final Pattern TERM =
      Pattern.compile("(?:\\[([01](?:,[01])*)\\]|\\(([^()]*)\\))(?:\\*(\\d{1,5}))?(\\+(?=.)|$)");

  /** More than any model has: a pattern is written out before it is compared with the layers. */
  private static final int MAX_LAYERS = 1 << 16;

  private LayerPattern() {}

  /**
   * Reads a number, every so many layers, or a pattern such as {@code [0]*1+[1]*11}.
   *
   * @param flag the value of {@code --moe-layer-freq}
   * @param layersFlag the flag that says how many layers there are, such as {@code --num-layers}
   * @return for each layer whether it has experts
   * @throws IllegalArgumentException if the value is neither, or if the pattern is one of another
   *     number of layers or gives experts to none of them
   */
  static boolean[] of(String flag, int layers, String layersFlag) {
    boolean[] moe = new boolean[layers];
    String text = flag.replaceAll("\\s", "");
    if (text.matches("\\d{1,9}")) {
      int every = Integer.parseInt(text);
      if (every < 1) {
        throw new IllegalArgumentException("--moe-layer-freq 0 is not positive");
      }
      for (int i = 0; i < layers; i++) {
        moe[i] = i % every == 0;
      }
      return moe;
    }
    List<Boolean> pattern = pattern(text, flag);
    if (pattern.size() != layers) {
      throw new IllegalArgumentException(
          "--moe-layer-freq %s describes %d layers, %s says %d"
              .formatted(flag, pattern.size(), layersFlag, layers));
    }
    if (!pattern.contains(true)) {
      throw new IllegalArgumentException(
          "--moe-layer-freq %s leaves no layer for experts: have a 1 in it, or leave out --num-experts"
              .formatted(flag));
    }
    for (int i = 0; i < layers; i++) {
      moe[i] = pattern.get(i);
    }
    return moe;
  }

  /**
   * Reads a sum of lists of zeros and ones, each of which may be repeated: {@code ([0]+[1]*3)*2}.
   */
  private static List<Boolean> pattern(String text, String flag) {
    List<Boolean> layers = new ArrayList<>();
    Matcher terms = TERM.matcher(text);
    int at = 0;
    while (at < text.length() && terms.find(at) && terms.start() == at) {
      List<Boolean> once = new ArrayList<>();
      if (terms.group(1) != null) {
        for (String digit : terms.group(1).split(",", -1)) {
          once.add(digit.equals("1"));
        }
      } else {
        once.addAll(pattern(terms.group(2), flag));
      }
      int times = terms.group(3) == null ? 1 : Integer.parseInt(terms.group(3));
      if (layers.size() + (long) times * once.size() > MAX_LAYERS) {
        throw new IllegalArgumentException(
            "--moe-layer-freq %s describes more than %d layers".formatted(flag, MAX_LAYERS));
      }
      for (int i = 0; i < times; i++) {
        layers.addAll(once);
      }
      at = terms.end();
    }
    if (at != text.length() || text.isEmpty()) {
      throw new IllegalArgumentException(
          "--moe-layer-freq takes a number or a pattern such as [0]*1+[1]*11, not '%s'"
              .formatted(flag));
    }
    return layers;
  }
}
