package moe4j.model.gpt;

import moe4j.config.Builders;
import moe4j.config.Faults;
import moe4j.config.Flag;
import moe4j.transformer.Activation;
import moe4j.transformer.Attention;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Norm;
import moe4j.transformer.RotaryEmbedding;

/**
 * The shape of a dense GPT, by Megatron's flags. Symbols in the Javadoc of the layers: {@code B}
 * sequences, {@code S} their length, {@code h} hidden size, {@code f} feed-forward size, {@code n}
 * heads, {@code g} query groups, {@code d} channels a head, {@code V} padded vocabulary. A shape
 * that cannot be is refused with an IllegalArgumentException in one sentence.
 */
public record GptConfig(
    @Flag(help = "transformer layers", required = true) int numLayers,
    @Flag(help = "hidden size", required = true) int hiddenSize,
    @Flag(help = "attention heads", required = true) int numAttentionHeads,
    @Flag(help = "tokens a sequence", required = true) int seqLength,
    @Flag(help = "longest sequence the positions allow", otherwise = "seq-length")
        Integer maxPositionEmbeddings,
    @Flag(
            help = "hidden size of the feed-forward layer",
            otherwise = "4 x hidden-size; with --swiglu 8/3 of it, in multiples of 64")
        Integer ffnHiddenSize,
    @Flag(help = "channels a head", otherwise = "hidden-size / num-attention-heads")
        Integer kvChannels,
    @Flag(help = "grouped-query attention, with --num-query-groups") boolean groupQueryAttention,
    @Flag(help = "groups of heads that share keys and values", value = "1") int numQueryGroups,
    @Flag(
            help = "position embedding",
            value = "learned_absolute",
            choices = {"learned_absolute", "rope", "none"})
        String positionEmbeddingType,
    @Flag(
            help = "base of the rotary frequencies",
            value = "10000",
            needs = "position-embedding-type rope")
        int rotaryBase,
    @Flag(
            help = "share of a head's channels that is rotated",
            value = "1.0",
            needs = "position-embedding-type rope")
        double rotaryPercent,
    @Flag(
            help = "rotate neighbouring channels and not halves",
            needs = "position-embedding-type rope")
        boolean rotaryInterleaved,
    @Flag(
            help = "normalisation",
            value = "LayerNorm",
            choices = {"LayerNorm", "RMSNorm"})
        String normalization,
    @Flag(help = "epsilon of the normalisation", value = "1e-5") double normEpsilon,
    @Flag(help = "SwiGLU and not GELU in the feed-forward layers") boolean swiglu,
    @Flag(help = "the square of ReLU and not GELU in the feed-forward layers") boolean squaredRelu,
    @Flag(help = "ReLU and not GELU in the feed-forward layers; Megatron has no flag for it")
        boolean relu,
    @Flag(help = "no biases in linear layers") boolean disableBiasLinear,
    @Flag(help = "biases in the query, key and value projection all the same") boolean addQkvBias,
    @Flag(help = "normalise queries and keys, each head by itself") boolean qkLayernorm,
    @Flag(help = "an output layer of its own and not the transposed word embedding")
        boolean untieEmbeddingsAndOutputWeights,
    @Flag(help = "pad the vocabulary to a multiple of this", value = "128")
        int makeVocabSizeDivisibleBy,
    @Flag(help = "standard deviation of the initial weights", value = "0.02") double initMethodStd,
    @Flag(help = "dropout of attention weights; Megatron's default is 0.1, ours is 0", value = "0")
        double attentionDropout,
    @Flag(
            help =
                "dropout of embeddings and of each block's output; Megatron's default is 0.1,"
                    + " ours is 0",
            value = "0")
        double hiddenDropout) {

  /** Fills what depends on other flags and checks the whole. */
  public GptConfig {
    Faults faults = new Faults();
    faults.positive("num-layers", numLayers);
    faults.positive("hidden-size", hiddenSize);
    faults.positive("num-attention-heads", numAttentionHeads);
    faults.positive("seq-length", seqLength);
    faults.positive("make-vocab-size-divisible-by", makeVocabSizeDivisibleBy);
    if (kvChannels == null && (hiddenSize < 1 || numAttentionHeads < 1)) {
      // Refused already; there is nothing to divide.
      kvChannels = 1;
    } else if (kvChannels == null) {
      faults.check(
          hiddenSize % numAttentionHeads != 0,
          "--hidden-size %d is no multiple of --num-attention-heads %d (give --kv-channels if that is meant)",
          hiddenSize,
          numAttentionHeads);
      kvChannels = Math.max(1, hiddenSize / numAttentionHeads);
    }
    faults.positive("kv-channels", kvChannels);
    faults.check(
        !groupQueryAttention && numQueryGroups != 1,
        "--num-query-groups %d needs --group-query-attention",
        numQueryGroups);
    if (groupQueryAttention) {
      faults.positive("num-query-groups", numQueryGroups);
      faults.check(
          numQueryGroups > 0 && numAttentionHeads % numQueryGroups != 0,
          "--num-attention-heads %d is no multiple of --num-query-groups %d",
          numAttentionHeads,
          numQueryGroups);
    }
    faults.none(() -> Activation.flagged(swiglu, squaredRelu, relu));
    if (ffnHiddenSize == null) {
      long four = 4L * hiddenSize;
      long usual = swiglu ? Math.max(64, ((long) (four * 2 / 3.0 / 64)) * 64) : four;
      faults.check(
          usual > Integer.MAX_VALUE,
          "--hidden-size %d: the usual --ffn-hidden-size would be %d, and at most %d is possible",
          hiddenSize,
          usual,
          Integer.MAX_VALUE);
      ffnHiddenSize = (int) Math.max(1, Math.min(usual, Integer.MAX_VALUE));
    }
    faults.positive("ffn-hidden-size", ffnHiddenSize);
    if (maxPositionEmbeddings == null) {
      maxPositionEmbeddings = seqLength;
    }
    faults.check(
        maxPositionEmbeddings < seqLength,
        "--max-position-embeddings %d is less than --seq-length %d",
        maxPositionEmbeddings,
        seqLength);
    int rotated = (int) (kvChannels * rotaryPercent);
    faults.check(
        positionEmbeddingType.equals("rope")
            && (rotaryPercent <= 0 || rotaryPercent > 1 || rotated % 2 != 0),
        "--rotary-percent %s of %d channels a head are %d: an even number of them can be rotated",
        rotaryPercent,
        kvChannels,
        rotated);
    faults.positive("rotary-base", rotaryBase);
    faults.positive("norm-epsilon", normEpsilon);
    faults.notNegative("init-method-std", initMethodStd);
    faults.belowOne("attention-dropout", attentionDropout);
    faults.belowOne("hidden-dropout", hiddenDropout);
    faults.refuse();
  }

  /** A builder whose values are the flags' defaults. */
  public static GptConfigBuilder builder() {
    return Builders.of(GptConfig.class, GptConfigBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public GptConfigBuilder toBuilder() {
    return Builders.from(this, GptConfigBuilder.class);
  }

  /** Groups of heads that share keys and values: {@code g}; one a head without grouping. */
  public int queryGroups() {
    return groupQueryAttention ? numQueryGroups : numAttentionHeads;
  }

  /** Whether linear layers have biases. */
  public boolean bias() {
    return !disableBiasLinear;
  }

  /** Between a feed-forward block's two projections. */
  public Activation activation() {
    return Activation.flagged(swiglu, squaredRelu, relu);
  }

  /** What layers and experts need to know of the model. */
  public LayerShape layerShape() {
    return LayerShape.of(numLayers, hiddenSize, ffnHiddenSize, activation(), initMethodStd)
        .withBias(bias());
  }

  /** The model's norms. */
  public Norm.Form norm() {
    Norm.Kind kind = normalization.equals("LayerNorm") ? Norm.Kind.LAYER_NORM : Norm.Kind.RMS_NORM;
    return new Norm.Form(kind, normEpsilon);
  }

  /** The model's attentions. */
  public Attention.Form attention() {
    return new Attention.Form(
        numAttentionHeads,
        queryGroups(),
        kvChannels,
        bias() || addQkvBias,
        attentionDropout,
        qkLayernorm ? norm() : null);
  }

  /** The model's rotary positions, if it has any. */
  public RotaryEmbedding.Form rotary() {
    int rotated = (int) (kvChannels * rotaryPercent);
    return new RotaryEmbedding.Form(rotated, rotaryBase, rotaryInterleaved, maxPositionEmbeddings);
  }

  /** The vocabulary the embedding has, for a tokenizer's: the next multiple that is allowed. */
  public int paddedVocabulary(int vocabulary) {
    long multiple = makeVocabSizeDivisibleBy;
    long padded = (vocabulary + multiple - 1) / multiple * multiple;
    if (padded > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "a vocabulary of %d, padded to a multiple of --make-vocab-size-divisible-by %d, would have %d tokens, and at most %d are possible"
              .formatted(vocabulary, multiple, padded, Integer.MAX_VALUE));
    }
    return (int) padded;
  }
}
