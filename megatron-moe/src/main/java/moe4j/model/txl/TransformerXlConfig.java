package moe4j.model.txl;

import java.util.List;
import moe4j.config.Builders;
import moe4j.config.Faults;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;

/**
 * The shape of a Transformer-XL, by upstream's flags with dashes and with its defaults. A shape
 * that cannot be is refused with an IllegalArgumentException in one sentence.
 *
 * <p>Symbols in the Javadoc of the layers: {@code B} columns of the batch, {@code Q} positions of a
 * segment, {@code M} positions in memory, {@code K = M + Q} keys, {@code h} model size, {@code n}
 * heads, {@code d} channels a head, {@code V} vocabulary.
 */
public record TransformerXlConfig(
    @Flag(help = "layers", value = "12", insteadOf = "num-layers") int nLayer,
    @Flag(help = "attention heads", value = "10", insteadOf = "num-attention-heads") int nHead,
    @Flag(help = "channels a head", value = "50", insteadOf = "kv-channels") int dHead,
    @Flag(
            help = "channels of the embedding, projected where they are others",
            otherwise = "d-model")
        Integer dEmbed,
    @Flag(help = "channels of the model", value = "500", insteadOf = "hidden-size") int dModel,
    @Flag(
            help = "channels within the feed-forward layer",
            value = "1000",
            insteadOf = "ffn-hidden-size")
        int dInner,
    @Flag(
            help = "positions that are predicted at once in training",
            value = "70",
            insteadOf = "seq-length")
        int tgtLen,
    @Flag(help = "positions before them that are computed again", value = "0") int extLen,
    @Flag(help = "positions of the memory in training", value = "0") int memLen,
    @Flag(help = "every position sees as many others") boolean sameLength,
    @Flag(help = "distances beyond are as far as this; -1 for no limit", value = "-1") int clampLen,
    @Flag(help = "normalise what a block takes and not what it has added") boolean preLnorm,
    @Flag(
            help = "an output layer of its own and not the transposed embedding",
            insteadOf = "untie-embeddings-and-output-weights")
        boolean notTied,
    @Flag(help = "adaptive softmax and embedding: clusters of rarer symbols", needs = "cutoffs")
        boolean adaptive,
    @Flag(help = "the first symbol of each further cluster", otherwise = "none")
        List<Integer> cutoffs,
    @Flag(help = "each further cluster's embedding is so many times smaller", value = "1")
        int divVal,
    @Flag(
            help = "attention; 0 is relative and partially learnable, the paper's",
            value = "0",
            choices = {"0", "1", "2", "3"})
        String attnType,
    @Flag(
            help = "dropout of embeddings, positions and blocks",
            value = "0.0",
            insteadOf = "hidden-dropout")
        double dropout,
    @Flag(help = "dropout of attention weights", value = "0.0", insteadOf = "attention-dropout")
        double dropatt,
    @Flag(
            help = "initial distribution",
            value = "normal",
            choices = {"normal", "uniform"})
        String init,
    @Flag(
            help = "standard deviation of the initial weights",
            value = "0.02",
            insteadOf = "init-method-std")
        double initStd,
    @Flag(help = "the same of the embedding's projections", value = "0.01") double projInitStd) {

  /** Fills what depends on other flags and checks the whole. */
  public TransformerXlConfig {
    Faults faults = new Faults();
    faults.positive("n-layer", nLayer);
    faults.positive("n-head", nHead);
    faults.positive("d-head", dHead);
    faults.positive("d-model", dModel);
    faults.positive("d-inner", dInner);
    faults.positive("tgt-len", tgtLen);
    faults.positive("div-val", divVal);
    if (dEmbed == null || dEmbed == -1) {
      dEmbed = Math.max(1, dModel);
    }
    faults.positive("d-embed", dEmbed);
    faults.check(
        dModel % 2 != 0,
        "--d-model %d: sines and cosines of positions take an even number",
        dModel);
    faults.check(
        extLen < 0 || memLen < 0,
        "--ext-len %d, --mem-len %d: neither may be negative",
        extLen,
        memLen);
    faults.check(
        clampLen == 0 || clampLen < -1, "--clamp-len %d is neither -1 nor positive", clampLen);
    faults.check(
        sameLength && memLen == 0,
        "--same-length: every position sees --mem-len others, and that is 0");
    faults.check(
        !attnType.equals("0"),
        "--attn-type %s: moe4j has only the paper's attention, --attn-type 0",
        attnType);
    faults.check(
        !init.equals("normal"),
        "--init %s: moe4j draws initial weights only from --init normal",
        init);
    cutoffs = List.copyOf(cutoffs);
    faults.check(!cutoffs.isEmpty() && !adaptive, "--cutoffs needs --adaptive");
    faults.check(
        adaptive && cutoffs.isEmpty(),
        "--adaptive needs --cutoffs: the first symbol of each further cluster");
    int before = 0;
    for (int cutoff : cutoffs) {
      faults.check(cutoff <= before, "--cutoffs %s do not rise from 1 on", cutoffs);
      before = cutoff;
    }
    faults.check(divVal > 1 && !adaptive, "--div-val %d needs --adaptive", divVal);
    faults.check(
        dEmbed > 0 && divVal > 0 && dEmbed / Math.pow(divVal, cutoffs.size()) < 1,
        "--div-val %d leaves the last of %d clusters no channel of --d-embed %d",
        divVal,
        cutoffs.size() + 1,
        dEmbed);
    faults.belowOne("dropout", dropout);
    faults.belowOne("dropatt", dropatt);
    faults.check(
        !(initStd >= 0) || !(projInitStd >= 0),
        "--init-std %s, --proj-init-std %s: neither may be negative",
        initStd,
        projInitStd);
    faults.refuse();
  }

  /** A builder whose values are the flags' defaults. */
  public static TransformerXlConfigBuilder builder() {
    return Builders.of(TransformerXlConfig.class, TransformerXlConfigBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public TransformerXlConfigBuilder toBuilder() {
    return Builders.from(this, TransformerXlConfigBuilder.class);
  }

  /**
   * What layers and experts need to know of the model: upstream's blocks have ReLU and dropout
   * between their projections, biases, and all weights from N(0, init-std).
   */
  public LayerShape layerShape() {
    return new LayerShape(nLayer, dModel, dInner, Activation.RELU, true, initStd, initStd, dropout);
  }

  /** What the model is trained with. */
  public Lengths lengths() {
    return new Lengths(tgtLen, extLen, memLen, sameLength, clampLen);
  }

  /** The channels of a cluster's embedding: those of the first, divided again and again. */
  int embeddingChannels(int cluster) {
    int channels = dEmbed;
    for (int i = 0; i < cluster; i++) {
      channels /= divVal;
    }
    return channels;
  }

  /**
   * How far a model looks, which is not in its weights: it may be evaluated with other lengths.
   *
   * @param target positions that are predicted
   * @param extended positions before them that are computed again, without a loss
   * @param memory positions of the memory
   * @param same whether every position sees {@code memory} others
   * @param clamp the distance that farther ones are taken for, or -1
   */
  public record Lengths(int target, int extended, int memory, boolean same, int clamp) {
    /** Positions that are computed, Q. */
    public int queries() {
      return extended + target;
    }

    /** Positions that may be seen, K. */
    int keys() {
      return memory + queries();
    }

    /**
     * For an evaluation with another number of targets: what the first of them sees is as long as
     * what a training segment's last sees.
     *
     * @throws IllegalArgumentException where no memory would be left, in one sentence
     */
    public Lengths evaluation(int otherTarget) {
      int longer = memoryFor(otherTarget);
      if (memory > 0 && longer < 1) {
        throw new IllegalArgumentException(
            "--eval-tgt-len %d%s leaves no memory of --mem-len %d + --tgt-len %d: give at most %d"
                .formatted(
                    otherTarget,
                    isDefault(otherTarget) ? ", the default," : "",
                    memory,
                    target,
                    memory + target - 1));
      }
      return new Lengths(otherTarget, extended, longer, same, clamp);
    }

    private static boolean isDefault(int evalTarget) {
      return Integer.valueOf(evalTarget)
          .equals(Flags.defaults(TrainingFlags.class).get("evalTgtLen"));
    }

    /** The memory for another number of targets, likewise; below 1 where none would be left. */
    int memoryFor(int otherTarget) {
      return memory == 0 ? 0 : memory + target - otherTarget;
    }
  }
}
