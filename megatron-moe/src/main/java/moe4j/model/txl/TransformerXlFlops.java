package moe4j.model.txl;

import moe4j.moe.MoeConfig;

/**
 * Floating-point operations of a training step, counted as Megatron counts a GPT's: matrix products
 * forward and backward, of attention what the mask leaves with a full memory. Beyond a GPT's there
 * are the memory's keys and values (no gradient goes into the memory, so two products and not
 * three), the positions' keys, and a third product of each query and key.
 */
final class TransformerXlFlops {
  private TransformerXlFlops() {}

  /**
   * Of one column's segment.
   *
   * @param columns among which is divided what a rank's batch computes once
   */
  static double perSegment(TransformerXlConfig config, MoeConfig moe, int vocabulary, int columns) {
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
            : 2.0 * h * moe.expertHiddenSize(config.layerShape()) * moe.moeRouterTopk() * moeLayers;
    double projections = config.nLayer() * (4 * h * inner);
    double perToken = 3 * 2 * (dense + experts + projections + embedding(config, vocabulary));
    double logits = 3 * 2 * logits(config, vocabulary) * lengths.target();
    double memory = 2 * 2 * (2 * h * inner) * m * config.nLayer();
    double positions = 2 * 2 * h * inner * lengths.keys() * config.nLayer() / columns;
    double visible = q * m + (lengths.same() ? 0 : q * (q + 1) / 2);
    double core = 3 * 2 * 3 * inner * visible * config.nLayer();
    return perToken * q + logits + memory + positions + core;
  }

  private static boolean isProjected(TransformerXlConfig config) {
    return config.divVal() > 1 || config.dEmbed().intValue() != config.dModel();
  }

  /** Weights that a symbol's embedding meets: none where it is looked up. */
  private static double embedding(TransformerXlConfig config, int vocabulary) {
    double weights = 0;
    int tables = config.divVal() > 1 ? SymbolEmbedding.ends(config, vocabulary).length : 1;
    for (int i = 0; isProjected(config) && i < tables; i++) {
      weights += (double) config.dModel() * config.embeddingChannels(i);
    }
    return weights;
  }

  /** Weights that a prediction meets: every cluster's, the first one's with the others' symbols. */
  private static double logits(TransformerXlConfig config, int vocabulary) {
    int[] ends = SymbolEmbedding.ends(config, vocabulary);
    double weights = (double) config.dEmbed() * (ends.length - 1);
    for (int i = 0; i < ends.length; i++) {
      int rows = SymbolEmbedding.size(ends, i) + (isProjected(config) ? config.dModel() : 0);
      weights += (double) config.embeddingChannels(i) * rows;
    }
    return weights;
  }
}
