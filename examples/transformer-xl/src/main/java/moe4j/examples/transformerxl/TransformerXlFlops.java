package moe4j.examples.transformerxl;

import moe4j.moe.MoeConfig;
import moe4j.transformer.TransformerConfig;

/**
 * Floating-point operations of a training step, counted as Megatron counts a GPT's: matrix products
 * forward and backward, of attention what the mask leaves with a full memory. Beyond a GPT's there
 * are the memory's keys and values (no gradient goes into the memory, so two products and not
 * three), the positions' keys, and a third product of each query and key.
 */
final class TransformerXlFlops {
  private TransformerXlFlops() {}

  /** Of one column's segment. */
  static double perSegment(TransformerXlConfig config, MoeConfig moe, int vocabulary, int columns) {
    TransformerConfig model = FeedForwards.shape(config);
    TransformerXlConfig.Lengths lengths = config.lengths();
    double h = config.dModel();
    double inner = (double) config.nHead() * config.dHead();
    double q = lengths.queries();
    double m = lengths.memory();
    int moeLayers = moe.moeLayerCount(config.nLayer());
    double dense = 2.0 * h * config.dInner() * (config.nLayer() - moeLayers);
    double experts =
        moeLayers == 0
            ? 0
            : 2.0 * h * moe.expertHiddenSize(model) * moe.moeRouterTopk() * moeLayers;
    double projections = config.nLayer() * (4 * h * inner);
    double logits = h * vocabulary;
    double perToken = 3 * 2 * (dense + experts + projections + logits);
    double memory = 2 * 2 * (2 * h * inner) * m * config.nLayer();
    // One segment's share of what the batch computes once.
    double positions = 2 * 2 * h * inner * lengths.keys() * config.nLayer() / columns;
    double visible = q * m + (lengths.same() ? 0 : q * (q + 1) / 2);
    double core = 3 * 2 * 3 * inner * visible * config.nLayer();
    return perToken * q + memory + positions + core;
  }
}
