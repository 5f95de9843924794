package moe4j.model.txl;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.product.Gemm;
import moe4j.transformer.ParameterScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Embeddings of symbols, times the root of the model size (upstream's {@code AdaptiveEmbedding};
 * for clusters Baevski and Auli 2019): with {@code --div-val} above 1 rarer clusters have fewer
 * channels, and where an embedding has other channels than the model, it is projected.
 */
final class SymbolEmbedding {
  private final double scale;
  private final int[] ends;
  private final List<Tensor> tables = new ArrayList<>();
  private final List<Tensor> projections = new ArrayList<>();

  /**
   * Makes the weights.
   *
   * @param vocabulary V
   * @param parameters the scope {@code embedding}
   */
  SymbolEmbedding(TransformerXlConfig config, int vocabulary, ParameterScope parameters) {
    this.scale = Math.sqrt(config.dModel());
    this.ends = ends(config, vocabulary);
    long h = config.dModel();
    if (config.divVal() == 1) {
      tables.add(
          parameters.weight(
              "word_embeddings.weight", config.initStd(), vocabulary, config.dEmbed()));
      if (config.dEmbed() != config.dModel()) {
        projections.add(
            parameters.weight("word_projection.weight", config.projInitStd(), h, config.dEmbed()));
      }
      return;
    }
    for (int i = 0; i < ends.length; i++) {
      int channels = config.embeddingChannels(i);
      ParameterScope cluster = parameters.child("clusters." + i);
      tables.add(
          cluster.weight("word_embeddings.weight", config.initStd(), size(ends, i), channels));
      projections.add(cluster.weight("word_projection.weight", config.projInitStd(), h, channels));
    }
  }

  /** Where each cluster of symbols ends; one cluster without {@code --adaptive}. */
  static int[] ends(TransformerXlConfig config, int vocabulary) {
    int[] ends = new int[config.cutoffs().size() + 1];
    for (int i = 0; i < config.cutoffs().size(); i++) {
      ends[i] = config.cutoffs().get(i);
    }
    ends[ends.length - 1] = vocabulary;
    if (ends.length > 1 && ends[ends.length - 2] >= vocabulary) {
      throw new IllegalArgumentException(
          "--cutoffs %s leave nothing of a vocabulary of %d symbols for the last cluster"
              .formatted(config.cutoffs(), vocabulary));
    }
    return ends;
  }

  /** How many symbols a cluster has. */
  static int size(int[] ends, int cluster) {
    return ends[cluster] - start(ends, cluster);
  }

  /** A cluster's first symbol. */
  static int start(int[] ends, int cluster) {
    return cluster == 0 ? 0 : ends[cluster - 1];
  }

  /** A cluster's embeddings; all of them where it is one table. */
  Tensor table(int cluster) {
    return tables.get(cluster);
  }

  /** A cluster's projection; null where the model has no projections. */
  Tensor projection(int cluster) {
    return projections.isEmpty() ? null : projections.get(cluster);
  }

  /** int64 [B, Q] to [B, Q, h]. */
  Tensor forward(Tensor symbols) {
    Tensor embedded = embedded(symbols);
    return embedded.mul(new Scalar(scale));
  }

  private Tensor embedded(Tensor symbols) {
    if (tables.size() == 1) {
      Tensor rows = torch.embedding(tables.get(0), symbols);
      return projections.isEmpty() ? rows : Gemm.linear(rows, projections.get(0), null);
    }
    // Every cluster's rows for all symbols, and then one of them: shapes say nothing of the data.
    Tensor all = null;
    for (int i = 0; i < tables.size(); i++) {
      Tensor own = symbols.sub(new Scalar((long) start(ends, i)));
      Tensor foreign =
          own.lt(new Scalar(0)).logical_or(own.ge(new Scalar((long) size(ends, i)))).unsqueeze(2);
      Tensor inside = own.clamp_min(new Scalar(0)).clamp_max(new Scalar(size(ends, i) - 1L));
      Tensor rows =
          Gemm.linear(torch.embedding(tables.get(i), inside), projections.get(i), null)
              .masked_fill(foreign, new Scalar(0));
      all = all == null ? rows : all.add(rows);
    }
    return all;
  }
}
