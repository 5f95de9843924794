package moe4j.model.txl;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.loss.CrossEntropy;
import moe4j.kernels.product.Bf16Products;
import moe4j.kernels.product.Gemm;
import moe4j.transformer.ParameterScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The loss of each symbol (upstream's {@code ProjectedAdaptiveLogSoftmax}): a softmax over all
 * symbols or, with clusters, over the first cluster and the others as one symbol each, times one
 * over the symbol's own cluster (Grave et al. 2017). Weights are the embedding's or its own.
 *
 * <p>With clusters every cluster's logits are computed for all positions, so that shapes say
 * nothing of the data and the step can be captured. Upstream takes the cluster's own positions
 * alone: with large vocabularies that is less work.
 */
final class SymbolSoftmax {
  private final int[] ends;
  private final SymbolEmbedding embedding;
  private final boolean tied;
  private final boolean divided;
  private final List<Tensor> weights = new ArrayList<>();
  private final List<Tensor> biases = new ArrayList<>();
  private final Tensor clusterWeight;
  private final Tensor clusterBias;

  /**
   * The first cluster's own projection, where there are projections; others are the embedding's.
   */
  private final Tensor projection;

  /**
   * Makes the weights.
   *
   * @param parameters the scope {@code output_layer}
   */
  SymbolSoftmax(
      TransformerXlConfig config,
      int vocabulary,
      SymbolEmbedding embedding,
      ParameterScope parameters) {
    this.ends = SymbolEmbedding.ends(config, vocabulary);
    this.embedding = embedding;
    this.tied = !config.notTied();
    this.divided = config.divVal() > 1;
    double std = config.initStd();
    if (divided) {
      for (int i = 0; i < ends.length; i++) {
        ParameterScope cluster = parameters.child("clusters." + i);
        long size = SymbolEmbedding.size(ends, i);
        weights.add(
            tied
                ? embedding.table(i)
                : cluster.weight("weight", std, size, config.embeddingChannels(i)));
        biases.add(cluster.bias("bias", size));
      }
    } else {
      weights.add(
          tied
              ? embedding.table(0)
              : parameters.weight("weight", std, vocabulary, config.dEmbed()));
      biases.add(parameters.bias("bias", vocabulary));
    }
    long clusters = ends.length - 1L;
    this.clusterWeight =
        clusters == 0 ? null : parameters.weight("cluster_weight", std, clusters, config.dEmbed());
    this.clusterBias = clusters == 0 ? null : parameters.bias("cluster_bias", clusters);
    this.projection =
        embedding.projection(0) == null
            ? null
            : parameters.weight(
                "projection.weight", config.projInitStd(), config.dModel(), config.dEmbed());
  }

  /**
   * The losses.
   *
   * @param hidden [T, h]
   * @param labels int64 [T]
   * @return fp32 [T]
   */
  Tensor loss(Tensor hidden, Tensor labels) {
    Tensor first = projected(hidden, projection);
    if (ends.length == 1) {
      return CrossEntropy.loss(Gemm.linear(first, weights.get(0), biases.get(0)), labels);
    }
    Tensor headWeight = torch.cat(new TensorVector(weight(0), clusterWeight), 0);
    Tensor headBias = torch.cat(new TensorVector(bias(0), clusterBias), 0);
    // A symbol of cluster i counts as the i-th of the clusters' from the end, as upstream has it.
    Tensor head = labels;
    for (int i = 1; i < ends.length; i++) {
      Tensor inside = inside(labels, i);
      head = head.masked_fill(inside, new Scalar((long) ends[0] + ends.length - 1 - i));
    }
    Tensor loss = CrossEntropy.loss(Gemm.linear(first, headWeight, headBias), head);
    for (int i = 1; i < ends.length; i++) {
      Tensor own =
          labels
              .sub(new Scalar((long) SymbolEmbedding.start(ends, i)))
              .clamp_min(new Scalar(0))
              .clamp_max(new Scalar(SymbolEmbedding.size(ends, i) - 1L));
      Tensor rows = projected(hidden, embedding.projection(divided ? i : 0));
      Tensor tail = CrossEntropy.loss(Gemm.linear(rows, weight(i), bias(i)), own);
      loss = loss.add(tail.masked_fill(inside(labels, i).logical_not(), new Scalar(0)));
    }
    return loss;
  }

  /**
   * The logarithms of all symbols' probabilities.
   *
   * @param hidden [T, h]
   * @return fp32 [T, V]
   */
  Tensor logProbabilities(Tensor hidden) {
    Tensor first = projected(hidden, projection);
    if (ends.length == 1) {
      return logSoftmax(Gemm.linear(first, weights.get(0), biases.get(0)));
    }
    Tensor headWeight = torch.cat(new TensorVector(weight(0), clusterWeight), 0);
    Tensor headBias = torch.cat(new TensorVector(bias(0), clusterBias), 0);
    Tensor head = logSoftmax(Gemm.linear(first, headWeight, headBias));
    TensorVector all = new TensorVector(head.narrow(1, 0, ends[0]));
    for (int i = 1; i < ends.length; i++) {
      Tensor rows = projected(hidden, embedding.projection(divided ? i : 0));
      Tensor own = logSoftmax(Gemm.linear(rows, weight(i), bias(i)));
      all.push_back(own.add(head.narrow(1, (long) ends[0] + ends.length - 1 - i, 1)));
    }
    return torch.cat(all, 1);
  }

  private static Tensor logSoftmax(Tensor logits) {
    return logits.to(ScalarType.Float).log_softmax(1);
  }

  private Tensor inside(Tensor labels, int cluster) {
    return labels
        .ge(new Scalar((long) SymbolEmbedding.start(ends, cluster)))
        .logical_and(labels.lt(new Scalar((long) ends[cluster])));
  }

  private Tensor weight(int cluster) {
    return divided ? weights.get(cluster) : part(weights.get(0), cluster);
  }

  private Tensor bias(int cluster) {
    return divided ? biases.get(cluster) : part(biases.get(0), cluster);
  }

  private Tensor part(Tensor all, int cluster) {
    return all.narrow(0, SymbolEmbedding.start(ends, cluster), SymbolEmbedding.size(ends, cluster));
  }

  /** {@code hidden P}, P being [h, e]; hidden itself where there is no projection. */
  private static Tensor projected(Tensor hidden, Tensor projection) {
    return projection == null ? hidden : Bf16Products.matmul(hidden, projection);
  }
}
