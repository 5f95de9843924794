package moe4j.model.gpt;

import static moe4j.cost.Width.tensor;
import static moe4j.cost.Width.whole;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import moe4j.cost.Amount;
import moe4j.cost.Costs;
import moe4j.cost.Crossing;
import moe4j.cost.Divisible;
import moe4j.cost.ModelPart;
import moe4j.cost.Product;
import moe4j.cost.Rows;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeCosts;
import moe4j.transformer.AttentionCosts;
import moe4j.transformer.LayerCosts;
import moe4j.transformer.LayerShape;

/** What a GPT costs. */
public final class GptCosts {
  private final GptConfig config;
  private final MoeConfig moe;

  private GptCosts(GptConfig config, MoeConfig moe) {
    this.config = config;
    this.moe = moe;
  }

  /**
   * The costs of a model.
   *
   * @param vocabulary V, padded
   */
  public static Costs of(GptConfig config, MoeConfig moe, int vocabulary) {
    GptCosts costs = new GptCosts(config, moe);
    return new Costs(
        config.seqLength(),
        List.of(costs.embedding(vocabulary)),
        costs.layers(),
        List.of(costs.norm(), costs.output(vocabulary)),
        Costs.Limits.NONE);
  }

  private List<List<ModelPart>> layers() {
    int layers = config.numLayers();
    boolean[] experts = moe.moeLayers(layers);
    List<ModelPart> mixing = List.of(norm(), attention(), norm());
    List<ModelPart> dense = join(mixing, List.of(feedForward()));
    List<List<ModelPart>> all = new ArrayList<>(Collections.nCopies(layers, dense));
    for (int i = 0; i < layers; i++) {
      if (experts[i]) {
        all.set(i, join(mixing, experts()));
      }
    }
    return all;
  }

  private static List<ModelPart> join(List<ModelPart> first, List<ModelPart> second) {
    List<ModelPart> parts = new ArrayList<>(first);
    parts.addAll(second);
    return parts;
  }

  private Amount stream() {
    return Amount.elements(Rows.tokens(config.seqLength()), whole(config.hiddenSize()));
  }

  /** The word embeddings and the learned positions; rows are read, summed, and their way back. */
  private ModelPart embedding(int vocabulary) {
    long h = config.hiddenSize();
    boolean positions = config.positionEmbeddingType().equals("learned_absolute");
    return ModelPart.named("embedding")
        .parameters(vocabulary * h, positions ? config.maxPositionEmbeddings() * h : 0)
        .moves(Rows.stream(config.seqLength()), whole(8.0 * h))
        .crosses(Crossing.Kind.OUT_OF_BLOCK, stream())
        .build();
  }

  private ModelPart norm() {
    return LayerCosts.norm(
        Rows.stream(config.seqLength()), config.hiddenSize(), config.norm().kind());
  }

  private ModelPart attention() {
    boolean rotates = config.positionEmbeddingType().equals("rope");
    return AttentionCosts.of(config.layerShape(), config.attention(), config.seqLength(), rotates);
  }

  private ModelPart feedForward() {
    return LayerCosts.feedForward(
            "feed-forward",
            config.seqLength(),
            config.layerShape(),
            config.ffnHiddenSize(),
            "ffn-hidden-size")
        .build();
  }

  private List<ModelPart> experts() {
    LayerShape shape = config.layerShape();
    return new MoeCosts(moe, config.seqLength(), shape, moe.expertHiddenSize(shape)).parts();
  }

  /**
   * The output layer and the loss. The logits are read and written once in each direction; kept is
   * one of them, whose memory takes its gradient. Each rank tells the others two numbers a token.
   */
  private ModelPart output(int vocabulary) {
    Rows tokens = Rows.tokens(config.seqLength());
    long own = config.untieEmbeddingsAndOutputWeights() ? 1 : 0;
    return ModelPart.named("output")
        .parameters(own * vocabulary * config.hiddenSize(), 0)
        .product(Product.Kind.OUTPUT, tokens, whole(config.hiddenSize()), tensor(vocabulary))
        .moves(tokens, tensor(2.0 * vocabulary))
        .keeps(tokens, tensor(vocabulary))
        .crosses(Crossing.Kind.INTO_BLOCK, stream())
        .crosses(Crossing.Kind.LOSS, Amount.floats(tokens, whole(2)))
        .divides(
            Divisible.of(Divisible.By.VOCABULARY, "vocab-size", vocabulary)
                .called("the padded vocabulary of")
                .hinting(" (see --make-vocab-size-divisible-by)"))
        .build();
  }
}
