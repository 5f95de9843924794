package moe4j.plan;

import moe4j.model.gpt.GptConfig;
import moe4j.moe.MoeConfig;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.gate.Capacity;

/**
 * What a plan needs to know of a model. Symbols of this package: {@code T} tokens of a micro-batch,
 * {@code h} hidden size, {@code q} and {@code c} channels of all queries and of all keys, {@code f}
 * a feed-forward block's hidden size, {@code i} channels its activation takes for each it gives,
 * {@code E} experts, {@code k} of them a token, {@code V} padded vocabulary, {@code e} bytes of an
 * element.
 *
 * @param config the dense model's flags
 * @param moe the experts' flags
 * @param vocabulary V, padded
 * @param bf16 bf16 parameters with fp32 masters, and not fp32
 */
public record ModelShape(GptConfig config, MoeConfig moe, int vocabulary, boolean bf16) {

  /** The shape of flags that go together. */
  public ModelShape {
    if (vocabulary < 1) {
      throw new IllegalArgumentException("--vocab-size %d is not positive".formatted(vocabulary));
    }
    if (moe.moeLayerCount(config.numLayers()) > 0) {
      moe.expertHiddenSize(config.layerShape());
    }
  }

  /** Bytes of an element of parameters and activations: e. */
  public int bytes() {
    return bf16 ? 2 : 4;
  }

  /** Layers with experts. */
  public int moeLayers() {
    return moe.moeLayerCount(config.numLayers());
  }

  /** Layers without. */
  public int denseLayers() {
    return config.numLayers() - moeLayers();
  }

  /** Hidden size of one expert; 0 where there are none. */
  public int expertHidden() {
    return moeLayers() == 0 ? 0 : moe.expertHiddenSize(config.layerShape());
  }

  /** E; 0 where there are none. */
  public int experts() {
    return moeLayers() == 0 ? 0 : moe.numExperts();
  }

  /** k; 0 where there are no experts. */
  public int topk() {
    return moeLayers() == 0 ? 0 : moe.moeRouterTopk();
  }

  /** Whether all ranks that have a copy of the experts together get all their tokens. */
  public boolean gathersTokens() {
    return moe.tokenDispatcher() == TokenDispatcher.Kind.ALL_GATHER;
  }

  /** Hidden size of the expert that all tokens go to; 0 where there is none. */
  public int sharedHidden() {
    Integer shared = moe.moeSharedExpertIntermediateSize();
    return moeLayers() == 0 || shared == null ? 0 : shared;
  }

  /** i: 2 for SwiGLU, else 1. */
  public int activationInputs() {
    return config.activation().inputs();
  }

  /** Whether several heads share a key, so that keys and values are copied for each of them. */
  public boolean groupsHeads() {
    return config.queryGroups() < config.numAttentionHeads();
  }

  /** Whether positions are rotations of queries and keys. */
  public boolean rotates() {
    return config.positionEmbeddingType().equals("rope");
  }

  /**
   * Rows of the fullest rank's experts over the mean, T k in all: the capacity where all are padded
   * to it, else the imbalance, which a capacity bounds; 1 where a rank has all experts.
   *
   * @param imbalance rows of the fullest rank over the mean, where nothing is dropped
   */
  public double load(int expertParallel, double imbalance) {
    Capacity capacity = moe.capacity();
    if (capacity != null && capacity.padded()) {
      return capacity.factor();
    }
    double uneven = expertParallel == 1 ? 1 : imbalance;
    return capacity == null ? uneven : Math.min(uneven, Math.max(1, capacity.factor()));
  }
}
