package moe4j.plan;

import moe4j.model.gpt.GptConfig;

/**
 * Parameters of one rank. Column-parallel weights and their biases, row-parallel weights and the
 * vocabulary are split by TP, the rest (norms, row-parallel biases, positions, routers) is whole on
 * each rank; a rank has an EP-th of the experts, an ETP-th of each.
 *
 * @param split of what TP splits, this rank's part
 * @param whole of what each rank of a TP group has
 * @param expertSplit of its experts, what ETP splits, this rank's part
 * @param expertWhole of its experts, what each rank of an ETP group has: the second biases
 */
public record ParameterCount(
    long split, long whole, long expertSplit, long expertWhole, int tp, int ep, int etp) {

  /** The count for sizes that divide what they are to divide. */
  public static ParameterCount of(ModelShape model, int tp, int ep, int etp) {
    GptConfig config = model.config();
    long h = config.hiddenSize();
    long q = config.queryChannels();
    long qkv = q + 2L * config.keyChannels();
    long bias = config.bias() ? 1 : 0;
    long qkvBias = config.bias() || config.addQkvBias() ? 1 : 0;
    long norm = config.normalization().equals("LayerNorm") ? 2 : 1;
    long inner = model.activationInputs();
    long vocabularies = config.untieEmbeddingsAndOutputWeights() ? 2 : 1;
    long split = vocabularies * model.vocabulary() / tp * h;
    long whole = norm * h;
    if (config.positionEmbeddingType().equals("learned_absolute")) {
      whole += config.maxPositionEmbeddings() * h;
    }
    long heads = config.qkLayernorm() ? 2 * norm * config.kvChannels() : 0;
    split += config.numLayers() * (qkv / tp * (h + qkvBias) + h * (q / tp));
    whole += config.numLayers() * (2 * norm * h + heads + bias * h);
    long f = config.ffnHiddenSize() / tp;
    split += model.denseLayers() * (inner * f * (h + bias) + h * f);
    whole += model.denseLayers() * bias * h;
    if (model.moeLayers() == 0) {
      return new ParameterCount(split, whole, 0, 0, tp, ep, etp);
    }
    long shared = model.sharedHidden() / tp;
    if (shared > 0) {
      split += model.moeLayers() * (inner * shared * (h + bias) + h * shared);
      whole += model.moeLayers() * (bias * h + (model.moe().moeSharedExpertGate() ? h : 0));
    }
    whole +=
        model.moeLayers()
            * model.moe().gate().parameters().count(config.hiddenSize(), model.experts());
    long local = (long) model.moeLayers() * model.experts() / ep;
    long width = model.expertHidden() / etp;
    long expertBias = model.moe().addExpertBias() ? 1 : 0;
    return new ParameterCount(
        split,
        whole,
        local * (inner * width * (h + expertBias) + h * width),
        local * expertBias * h,
        tp,
        ep,
        etp);
  }

  /** Parameters of the rank that its DP group shares. */
  public long dense() {
    return split + whole;
  }

  /** Parameters of the rank that its expert DP group shares. */
  public long experts() {
    return expertSplit + expertWhole;
  }

  /** All that the rank has. */
  public long rank() {
    return dense() + experts();
  }

  /** The model's, each counted once. */
  public long model() {
    return split * tp + whole + (expertSplit * etp + expertWhole) * ep;
  }
}
