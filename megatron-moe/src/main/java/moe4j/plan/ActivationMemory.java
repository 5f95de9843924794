package moe4j.plan;

import moe4j.model.gpt.GptConfig;
import moe4j.transformer.Activation;

/**
 * Bytes that the forward of a micro-batch keeps for the backward on one rank, as the layers' code
 * does on a GPU, and the most that the backward needs beside them. With sequence parallelism a
 * layer's inputs are kept split and gathered again in the backward, as Megatron does it.
 */
final class ActivationMemory {
  private final ModelShape model;
  private final GptConfig config;
  private final PlannedLayout layout;
  private final Choices choices;
  private final double tokens;
  private final double local;
  private final double own;
  private final double tp;
  private final double h;
  private final double e;

  ActivationMemory(ModelShape model, PlannedLayout layout, Choices choices) {
    this.model = model;
    this.config = model.config();
    this.layout = layout;
    this.choices = choices;
    this.tokens = (double) layout.microBatch() * config.seqLength();
    this.local = layout.localTokens(model);
    this.own = layout.routedTokens(model);
    this.tp = layout.tp();
    this.h = config.hiddenSize();
    this.e = model.bytes();
  }

  /** Of all layers and the last norm. */
  double kept() {
    double layers =
        config.numLayers() * (2 * norm() + attention())
            + model.denseLayers() * feedForward(config.ffnHiddenSize());
    if (model.moeLayers() > 0) {
      layers += model.moeLayers() * (router() + experts() + shared());
    }
    return layers + norm();
  }

  /** The logits, whose memory takes their gradient: {@code T V / TP e}. */
  double logits() {
    return tokens * model.vocabulary() / tp * e;
  }

  /** {@code AddNorm}'s sum, its output, which the next product keeps, and the rows' statistics. */
  private double norm() {
    return local * (2 * h * e + 4 * statistics());
  }

  private double statistics() {
    return config.normalization().equals("LayerNorm") ? 2 : 1;
  }

  /**
   * What attention reads again: queries, keys, values, its output (which the output projection
   * keeps, too) and the rows' log-sums in fp32. As long as one of the first three is a view of
   * their projection, all of that stays; what norms, rotations and copies for grouped heads make
   * comes in addition.
   */
  private double attention() {
    double q = config.queryChannels();
    double c = config.keyChannels();
    boolean grouped = model.groupsHeads();
    boolean norms = config.qkLayernorm();
    boolean rotates = model.rotates();
    double kept = q;
    if (!grouped || !(norms || rotates)) {
      kept += q + 2 * c;
    }
    double floats = config.numAttentionHeads();
    if (norms) {
      kept += q + c;
      floats += (config.numAttentionHeads() + config.queryGroups()) * statistics();
    }
    if (norms || rotates) {
      kept += q + (grouped ? 0 : c);
    }
    if (grouped) {
      kept += 2 * q;
    }
    double bytes = tokens / tp * (kept * e + 4 * floats);
    return config.attentionDropout() == 0 ? bytes : bytes + scores() * (4 + e);
  }

  /** Attention's weights, B n S S / TP: with dropout they are kept, in fp32 and dropped. */
  private double scores() {
    return tokens * config.seqLength() * config.numAttentionHeads() / tp;
  }

  /** Channels that are kept for each of a block's hidden ones: its activation's in- and output. */
  private double perChannel() {
    return switch (config.activation()) {
      case GELU, SQUARED_RELU -> 2;
      case SWIGLU -> 3;
      case RELU -> 1;
    };
  }

  private double feedForward(double hidden) {
    return tokens * perChannel() * hidden / tp * e;
  }

  /** Logits and what the losses keep of the scores, fp32; places and weights of the routes. */
  private double router() {
    return own * (2 * 4 * model.experts() + 32 * model.topk());
  }

  /** Rows of this rank's experts: {@code R = T k ETP} of the local tokens, times the load. */
  double rows() {
    return own * model.topk() * layout.etp() * model.load(layout.ep(), choices.imbalance());
  }

  /** Rows that memory is taken for: those of all tokens, where all are here. */
  private double held() {
    return model.gathersTokens() ? own * model.topk() * layout.ep() * layout.etp() : rows();
  }

  /** Their input, and what lies before and behind the activation; it is weighted, so it stays. */
  private double experts() {
    double between = config.activation() == Activation.RELU ? 2 : perChannel();
    between += config.activation() == Activation.SQUARED_RELU ? 1 : 0;
    return held() * (h + between * model.expertHidden() / layout.etp()) * e;
  }

  private double shared() {
    double output =
        model.sharedHidden() > 0 && model.moe().moeSharedExpertGate() ? local * h * e : 0;
    return feedForward(model.sharedHidden()) + output;
  }

  /**
   * The most that a block's backward needs beside what was kept: gradients of in- and output and of
   * what lies between; with experts on several ranks also the rows that are sent and that come.
   */
  double working() {
    double i = model.activationInputs();
    double q = config.queryChannels();
    double c = config.keyChannels();
    double most = tokens * (h + (3 * q + 4 * c) / tp) * e;
    double widest = model.denseLayers() > 0 ? config.ffnHiddenSize() : model.sharedHidden();
    if (widest > 0) {
      most = Math.max(most, tokens * (2 * h + (i + 1) * widest / tp) * e);
    }
    if (model.moeLayers() > 0) {
      double inner = (i + 1) * model.expertHidden() / layout.etp();
      double routed = held() * (2 * h + inner) * e;
      int ranks = layout.ep() * layout.etp();
      double moved = own * (model.gathersTokens() ? ranks : model.topk());
      most = Math.max(most, routed + (ranks > 1 ? 2 * moved * h * e : 0));
    }
    return most;
  }
}
