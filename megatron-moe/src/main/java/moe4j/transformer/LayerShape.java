package moe4j.transformer;

/**
 * What layers and experts need to know of the model that they are in, whatever kind of model it is.
 *
 * @param layers L; balance losses are averaged over those of them that have experts
 * @param hiddenSize h
 * @param ffnHiddenSize f, of a dense feed-forward block
 * @param activation between a feed-forward block's two projections, dense or an expert's
 * @param bias whether linear layers have biases
 * @param initMethodStd standard deviation of initial weights
 * @param outputStd the same of projections whose output joins the residual
 * @param innerDropout dropout between a feed-forward block's two projections, in training
 */
public record LayerShape(
    int layers,
    int hiddenSize,
    int ffnHiddenSize,
    Activation activation,
    boolean bias,
    double initMethodStd,
    double outputStd,
    double innerDropout) {

  /** Refuses sizes below 1, negative deviations, and a dropout outside [0, 1). */
  public LayerShape {
    positive("layers", layers);
    positive("hiddenSize", hiddenSize);
    positive("ffnHiddenSize", ffnHiddenSize);
    if (!(initMethodStd >= 0) || !(outputStd >= 0)) {
      throw new IllegalArgumentException(
          "standard deviations of %s and %s: neither may be negative"
              .formatted(initMethodStd, outputStd));
    }
    if (!(innerDropout >= 0 && innerDropout < 1)) {
      throw new IllegalArgumentException(
          "a dropout of %s within feed-forward blocks is not in [0, 1)".formatted(innerDropout));
    }
  }

  private static void positive(String what, int value) {
    if (value < 1) {
      throw new IllegalArgumentException("%s = %d is not positive".formatted(what, value));
    }
  }

  /**
   * A model of Megatron's kind: initial weights from N(0, std), those of projections into the
   * residual from N(0, std / sqrt(2 L)), biases, and no dropout within feed-forward blocks.
   */
  public static LayerShape of(
      int layers, int hiddenSize, int ffnHiddenSize, Activation activation, double std) {
    double outputStd = std / Math.sqrt(2.0 * layers);
    return new LayerShape(layers, hiddenSize, ffnHiddenSize, activation, true, std, outputStd, 0);
  }

  /** The same with biases in linear layers, or without. */
  public LayerShape withBias(boolean biases) {
    return new LayerShape(
        layers,
        hiddenSize,
        ffnHiddenSize,
        activation,
        biases,
        initMethodStd,
        outputStd,
        innerDropout);
  }

  /**
   * The same as Megatron would have it: projections into the residual from N(0, std / sqrt(2 L)),
   * and no dropout within feed-forward blocks.
   */
  public LayerShape asMegatron() {
    return of(layers, hiddenSize, ffnHiddenSize, activation, initMethodStd).withBias(bias);
  }

  /** The same with feed-forward blocks of another size. */
  public LayerShape withFfnHiddenSize(int size) {
    return new LayerShape(
        layers, hiddenSize, size, activation, bias, initMethodStd, outputStd, innerDropout);
  }
}
