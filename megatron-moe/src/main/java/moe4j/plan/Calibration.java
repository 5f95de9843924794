package moe4j.plan;

import moe4j.cost.AttentionCore;
import moe4j.cost.Placement;
import moe4j.cost.Product;

/**
 * What share of its peaks a GPU reaches. The constants come from profiles of GPT-2's steps in bf16
 * on one H200 in {@code docs/performance.md}; {@code docs/plan.md} says which figure gives which
 * constant. Other kinds of GPU are taken to reach the same shares, which was not measured.
 */
final class Calibration {
  /** Share of the data sheet's bandwidth that kernels between products reach. */
  static final double BANDWIDTH = 0.8;

  /** The same of AdamW, whose operands come by bulk copies: 3.97 of 4.8 TB/s. */
  static final double UPDATE = 0.827;

  /** Share of the peak that wide products approach. */
  private static final double PRODUCT = 0.8;

  /** Width of a matrix at which its product reaches half of that. */
  private static final double HALF_WIDTH = 200;

  /** Share of the peak of the output layer's products: 7.6 TFLOP in some 10 ms. */
  private static final double OUTPUT = 0.77;

  /**
   * Share of the peak of grouped products, their weights' traffic not counted: 11.1 TFLOP in 20.1
   * ms less 4.2 for reading the weights twice and writing their gradients once.
   */
  private static final double GROUPED = 0.706;

  /** The narrower side of the output layer and of the experts with which these were measured. */
  private static final double MEASURED_WIDTH = 768;

  /** Share of the peak of attention over long sequences with wide heads. */
  private static final double ATTENTION = 0.414;

  /**
   * The same of attention with relative positions: 0.96 TFLOP in 6.5 ms, 64 channels a head, 768
   * keys a query.
   */
  private static final double RELATIVE = 0.322;

  /** Channels of a head whose products take as long as the exponentials of their scores. */
  private static final double HEAD = 64;

  /** Queries that a kernel takes at a time: it computes half a tile more than the mask leaves. */
  private static final double TILE = 128;

  /** Share of the peak of the router's products: 0.17 TFLOP in 1 ms. */
  private static final double ROUTER = 0.18;

  /** Seconds that a layer's kernels wait for each other, in a captured graph. */
  static final double GAPS = 1e-4;

  /** Passes over attention's weights where they are dropped out, forward and backward; assumed. */
  static final double DROPOUT_PASSES = 10;

  private Calibration() {}

  /** The share of the peak that a product reaches, by its kind and its widths on the rank. */
  static double product(Product product, Placement placement) {
    double in = product.in().on(placement);
    double out = product.out().on(placement);
    return switch (product.kind()) {
      case DENSE -> product(in, out);
      case OUTPUT -> output(in, out);
      case GROUPED -> grouped(in, out);
      case GATE -> ROUTER;
    };
  }

  /** The same of a dense product: {@code 0.8 w / (w + 200)}, w being the weight's narrower side. */
  static double product(double in, double out) {
    double width = Math.min(in, out);
    return PRODUCT * width / (width + HALF_WIDTH);
  }

  /** The same of the output layer's; narrower weights than measured lose as dense ones do. */
  static double output(double in, double out) {
    double width = Math.min(MEASURED_WIDTH, Math.min(in, out));
    return OUTPUT * product(width, width) / product(MEASURED_WIDTH, MEASURED_WIDTH);
  }

  /** The same of a grouped product; narrower weights than measured lose as dense ones do. */
  static double grouped(double in, double out) {
    double width = Math.min(MEASURED_WIDTH, Math.min(in, out));
    return GROUPED * product(width, width) / product(MEASURED_WIDTH, MEASURED_WIDTH);
  }

  /** The same of attention; causal attention over S tokens sees S / 2 keys on average. */
  static double attention(AttentionCore core) {
    double share = attention(core.headChannels(), 2 * core.visible());
    return switch (core.kind()) {
      case PLAIN -> share;
      case RELATIVE -> share * RELATIVE / ATTENTION;
    };
  }

  /** The same of causal attention with d channels a head over S tokens. */
  static double attention(double d, double sequence) {
    return ATTENTION * d / (d + HEAD) * sequence / (sequence + TILE);
  }
}
