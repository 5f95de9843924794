package moe4j.model.gpt;

import moe4j.moe.MoeConfig;

/**
 * Floating-point operations of a training step as Megatron counts them ({@code
 * num_floating_point_operations}): forward and backward of the matrix products, attention halved
 * for the causal mask, the padded vocabulary in full; embeddings, norms, the router and
 * recomputation do not count, and dropped tokens are not taken off.
 *
 * @param layers transformer layers, {@code L}
 * @param hidden hidden size, {@code h}
 * @param queryChannels channels of the queries of all heads
 * @param keyChannels channels of the keys of all groups
 * @param swiglu three products in a feed-forward layer, and not two
 * @param ffnHidden hidden size of a dense layer's feed-forward part
 * @param moeLayers how many of the layers have experts
 * @param expertHidden hidden size of one expert
 * @param topk experts a token goes to
 * @param sharedHidden hidden size of the expert that all tokens go to, 0 where there is none
 * @param seqLength tokens a sequence, {@code s}
 * @param paddedVocabulary rows of the output layer
 */
public record FlopCount(
    int layers,
    int hidden,
    int queryChannels,
    int keyChannels,
    boolean swiglu,
    int ffnHidden,
    int moeLayers,
    int expertHidden,
    int topk,
    int sharedHidden,
    int seqLength,
    int paddedVocabulary) {

  /** The count of a GPT. */
  public static FlopCount of(GptConfig model, MoeConfig moe, int paddedVocabulary) {
    int moeLayers = moe.moeLayerCount(model.numLayers());
    Integer shared = moe.moeSharedExpertIntermediateSize();
    return new FlopCount(
        model.numLayers(),
        model.hiddenSize(),
        model.queryChannels(),
        model.keyChannels(),
        model.swiglu(),
        model.ffnHiddenSize(),
        moeLayers,
        moeLayers == 0 ? 0 : moe.expertHiddenSize(model.layerShape()),
        moeLayers == 0 ? 0 : moe.moeRouterTopk(),
        moeLayers == 0 || shared == null ? 0 : shared,
        model.seqLength(),
        paddedVocabulary);
  }

  /** FLOPs of forward and backward over so many sequences. */
  public double of(long sequences) {
    // Three products for one (forward, gradient of input, gradient of weight), 2 FLOPs a multiply.
    double perProduct = 3 * 2;
    double h = hidden;
    double products = swiglu ? 3 : 2;
    double feedForward =
        h
            * products
            * ((double) ffnHidden * (layers - moeLayers)
                + ((double) expertHidden * topk + sharedHidden) * moeLayers);
    double projections =
        layers * (h * (queryChannels + 2.0 * keyChannels) + (double) queryChannels * h);
    double logits = h * paddedVocabulary;
    double tokens = (double) sequences * seqLength;
    // Two products over s x s scores, half of which the mask leaves.
    double core = tokens * seqLength * perProduct * queryChannels * layers;
    return tokens * perProduct * (feedForward + projections + logits) + core;
  }

  /** FLOPs a token of a full sequence. */
  public double perToken() {
    return of(1) / seqLength;
  }
}
