package moe4j.model.txl;

import static moe4j.cost.Width.whole;

import moe4j.cost.ModelPart;
import moe4j.cost.Product;
import moe4j.cost.Rows;

/**
 * What {@link SymbolEmbedding} and {@link SymbolSoftmax} cost: every cluster's weights meet every
 * position, and where embeddings have other channels than the model, they are projected.
 */
final class SymbolCosts {
  private final TransformerXlConfig config;
  private final int[] ends;

  /** The costs with so many symbols. */
  SymbolCosts(TransformerXlConfig config, int vocabulary) {
    this.config = config;
    this.ends = SymbolEmbedding.ends(config, vocabulary);
  }

  private boolean isDivided() {
    return config.divVal() > 1;
  }

  private boolean isProjected() {
    return isDivided() || config.dEmbed().intValue() != config.dModel();
  }

  /** Tables of embeddings: one for all clusters, unless they have fewer channels each. */
  private int tables() {
    return isDivided() ? ends.length : 1;
  }

  private long weights() {
    long sum = 0;
    for (int i = 0; i < ends.length; i++) {
      sum += (long) SymbolEmbedding.size(ends, i) * config.embeddingChannels(i);
    }
    return sum;
  }

  /** Rows are looked up, projected, scaled and dropped out. */
  ModelPart embedding() {
    Rows tokens = Rows.tokens(config.lengths().queries());
    long h = config.dModel();
    ModelPart.Builder part =
        ModelPart.named("embedding").parameters(0, weights()).moves(tokens, whole(8.0 * h));
    for (int i = 0; isProjected() && i < tables(); i++) {
      int channels = config.embeddingChannels(i);
      part.parameters(0, h * channels)
          .product(Product.Kind.DENSE, tokens, whole(channels), whole((double) h))
          .keeps(tokens, whole(channels));
    }
    return part.build();
  }

  /** The logits of what has a loss, whose memory takes their gradient, and the loss. */
  ModelPart output() {
    Rows predicting = Rows.tokens(config.lengths().target());
    long h = config.dModel();
    long others = ends.length - 1L;
    long vocabulary = ends[ends.length - 1];
    ModelPart.Builder part =
        ModelPart.named("output")
            .parameters(0, (config.notTied() ? weights() : 0) + vocabulary)
            .parameters(0, others * (config.dEmbed() + 1))
            .parameters(0, isProjected() ? h * config.dEmbed() : 0)
            .moves(predicting, whole(2.0 * (vocabulary + others)))
            .keeps(predicting, whole((double) (vocabulary + others)));
    for (int i = 0; i < ends.length; i++) {
      int channels = config.embeddingChannels(i);
      double symbols = SymbolEmbedding.size(ends, i) + (i == 0 ? others : 0);
      part.product(Product.Kind.OUTPUT, predicting, whole(channels), whole(symbols));
      if (isProjected()) {
        part.product(Product.Kind.DENSE, predicting, whole((double) h), whole(channels))
            .keeps(predicting, whole(channels));
      }
    }
    return part.build();
  }
}
