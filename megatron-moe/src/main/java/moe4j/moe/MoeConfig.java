package moe4j.moe;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.config.Flag;
import moe4j.transformer.TransformerConfig;

/**
 * The mixture-of-experts layers of a GPT, by Megatron's flags; without {@code --num-experts} there
 * are none.
 */
public record MoeConfig(
    @Flag(
            help =
                "experts of each MoE layer, in total (they have no biases); without it the model is"
                    + " dense")
        Integer numExperts,
    @Flag(
            help = "which layers have experts: every N-th, or a pattern such as [0]*1+[1]*11",
            value = "1",
            needs = "num-experts")
        String moeLayerFreq,
    @Flag(help = "hidden size of each expert", otherwise = "ffn-hidden-size", needs = "num-experts")
        Integer moeFfnHiddenSize,
    @Flag(help = "experts a token goes to", value = "2", needs = "num-experts") int moeRouterTopk,
    @Flag(
            help = "softmax over all experts before the choice, and not over the chosen after it",
            needs = "num-experts")
        boolean moeRouterPreSoftmax,
    @Flag(
            help = "how the load is balanced",
            value = "aux_loss",
            choices = {"aux_loss", "none"},
            needs = "num-experts")
        String moeRouterLoadBalancingType,
    @Flag(
            help = "weight of the load-balancing loss (1e-2 is usual)",
            value = "0.0",
            needs = "num-experts")
        double moeAuxLossCoeff,
    @Flag(help = "weight of the router's z-loss (1e-3 is usual)", needs = "num-experts")
        Double moeZLossCoeff) {

  /** Checks what can be checked without the model. */
  public MoeConfig {
    if (numExperts != null) {
      if (numExperts < 1) {
        throw new IllegalArgumentException(
            "--num-experts %d is not positive".formatted(numExperts));
      }
      if (moeRouterTopk < 1 || moeRouterTopk > numExperts) {
        throw new IllegalArgumentException(
            "--moe-router-topk %d is not between 1 and --num-experts %d"
                .formatted(moeRouterTopk, numExperts));
      }
      if (moeRouterTopk == 1 && !moeRouterPreSoftmax && numExperts > 1) {
        throw new IllegalArgumentException(
            "--moe-router-topk 1 needs --moe-router-pre-softmax: a softmax over one expert is 1 and"
                + " teaches the router nothing");
      }
      if (moeFfnHiddenSize != null && moeFfnHiddenSize < 1) {
        throw new IllegalArgumentException(
            "--moe-ffn-hidden-size %d is not positive".formatted(moeFfnHiddenSize));
      }
    }
    if (!(moeAuxLossCoeff >= 0)) {
      throw new IllegalArgumentException(
          "--moe-aux-loss-coeff %s is negative".formatted(moeAuxLossCoeff));
    }
    if (moeZLossCoeff != null && !(moeZLossCoeff >= 0)) {
      throw new IllegalArgumentException(
          "--moe-z-loss-coeff %s is negative".formatted(moeZLossCoeff));
    }
  }

  /** No experts at all. */
  public static MoeConfig dense() {
    return new MoeConfig(null, "1", null, 2, false, "aux_loss", 0.0, null);
  }

  /** Whether any layer has experts. */
  public boolean enabled() {
    return numExperts != null;
  }

  /** The hidden size of an expert in a model. */
  public int expertHiddenSize(TransformerConfig model) {
    return moeFfnHiddenSize == null ? model.ffnHiddenSize() : moeFfnHiddenSize;
  }

  /**
   * Which layers have experts.
   *
   * @throws IllegalArgumentException if {@code --moe-layer-freq} is no pattern of that many layers
   */
  public boolean[] moeLayers(int layers) {
    boolean[] moe = new boolean[layers];
    if (!enabled()) {
      return moe;
    }
    String text = moeLayerFreq.replaceAll("\\s", "");
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
    List<Boolean> pattern = pattern(text);
    if (pattern.size() != layers) {
      throw new IllegalArgumentException(
          "--moe-layer-freq %s describes %d layers, --num-layers says %d"
              .formatted(moeLayerFreq, pattern.size(), layers));
    }
    for (int i = 0; i < layers; i++) {
      moe[i] = pattern.get(i);
    }
    return moe;
  }

  /** A sum of lists of zeros and ones, each perhaps times a number: {@code ([0]+[1]*3)*2} too. */
  private List<Boolean> pattern(String text) {
    List<Boolean> layers = new ArrayList<>();
    Pattern term =
        Pattern.compile("(?:\\[([01](?:,[01])*)\\]|\\(([^()]*)\\))(?:\\*(\\d{1,5}))?(\\+(?=.)|$)");
    Matcher terms = term.matcher(text);
    int at = 0;
    while (at < text.length() && terms.find(at) && terms.start() == at) {
      List<Boolean> once = new ArrayList<>();
      if (terms.group(1) != null) {
        for (String digit : terms.group(1).split(",", -1)) {
          once.add(digit.equals("1"));
        }
      } else {
        once.addAll(pattern(terms.group(2)));
      }
      int times = terms.group(3) == null ? 1 : Integer.parseInt(terms.group(3));
      for (int i = 0; i < times; i++) {
        layers.addAll(once);
      }
      at = terms.end();
    }
    if (at != text.length() || text.isEmpty()) {
      throw new IllegalArgumentException(
          "--moe-layer-freq takes a number or a pattern such as [0]*1+[1]*11, not '%s'"
              .formatted(moeLayerFreq));
    }
    return layers;
  }
}
