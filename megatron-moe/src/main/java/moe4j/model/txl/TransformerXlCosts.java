package moe4j.model.txl;

import static moe4j.cost.Width.whole;

import java.util.ArrayList;
import java.util.List;
import moe4j.cost.Amount;
import moe4j.cost.AttentionCore;
import moe4j.cost.Costs;
import moe4j.cost.Divisible;
import moe4j.cost.ModelPart;
import moe4j.cost.Product;
import moe4j.cost.Rows;
import moe4j.kernels.attention.RelativeAttention;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeCosts;
import moe4j.transformer.LayerCosts;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Norm;

/**
 * What a Transformer-XL costs. Beyond a GPT's there are the memory's keys and values (no gradient
 * goes into the memory, so two products and not three), the positions' keys, which a micro-batch
 * has once, and a third product of each query and key. Attention sees what the mask leaves with a
 * full memory.
 */
final class TransformerXlCosts {
  private static final Costs.Limits LIMITS =
      new Costs.Limits("a Transformer-XL's matrices are whole on every process", true);

  /** Weights are kept by whole tiles of so many keys. */
  private static final double KEY_TILE = 64;

  private final TransformerXlConfig config;
  private final MoeConfig moe;
  private final TransformerXlConfig.Lengths lengths;
  private final int h;
  private final int inner;

  private TransformerXlCosts(TransformerXlConfig config, MoeConfig moe) {
    this.config = config;
    this.moe = moe;
    this.lengths = config.lengths();
    this.h = config.dModel();
    this.inner = config.nHead() * config.dHead();
  }

  /**
   * The costs of a model.
   *
   * @param vocabulary V
   */
  static Costs of(TransformerXlConfig config, MoeConfig moe, int vocabulary) {
    TransformerXlCosts costs = new TransformerXlCosts(config, moe);
    SymbolCosts symbols = new SymbolCosts(config, vocabulary);
    return new Costs(
        config.tgtLen(),
        List.of(symbols.embedding(), costs.positions()),
        costs.layers(),
        List.of(symbols.output()),
        LIMITS);
  }

  /** What of the layers has to be a multiple of what. */
  static List<Divisible> divisible(TransformerXlConfig config, MoeConfig moe) {
    List<List<ModelPart>> layers = new TransformerXlCosts(config, moe).layers();
    return new Costs(config.tgtLen(), List.of(), layers, List.of(), LIMITS).divisible();
  }

  private List<List<ModelPart>> layers() {
    boolean[] experts = moe.moeLayers(config.nLayer(), "--n-layer");
    List<List<ModelPart>> all = new ArrayList<>();
    for (boolean with : experts) {
      List<ModelPart> layer = new ArrayList<>(List.of(norm(normed()), attention(), norm(tokens())));
      layer.addAll(with ? experts() : List.of(feedForward()));
      all.add(layer);
    }
    return all;
  }

  private Rows tokens() {
    return Rows.tokens(lengths.queries());
  }

  /** A norm in front of the attention is one of the memory, too. */
  private Rows normed() {
    return config.preLnorm() ? Rows.tokens(lengths.keys()) : tokens();
  }

  private ModelPart norm(Rows rows) {
    return LayerCosts.norm(rows, h, Norm.Kind.LAYER_NORM);
  }

  /** The sinusoids that all layers' keys of positions are made of, and both biases of queries. */
  private ModelPart positions() {
    return ModelPart.named("positions")
        .parameters(0, 2L * inner)
        .keeps(Rows.once(lengths.keys()), whole(h))
        .build();
  }

  /**
   * Attention and its memory. Kept are the memory, what it and the segment come to, one behind the
   * other, queries, keys, values, positions' keys, the output, the rows' log-sums in fp32 and, of
   * not too many, the weights.
   */
  private ModelPart attention() {
    double q = lengths.queries();
    double m = lengths.memory();
    Rows keys = Rows.tokens(lengths.keys());
    Rows positions = Rows.once(lengths.keys());
    double weights = config.nHead() * KEY_TILE * Math.ceil(lengths.keys() / KEY_TILE);
    ModelPart.Builder part =
        ModelPart.named("attention")
            .parameters(0, 5L * h * inner)
            .product(Product.Kind.DENSE, tokens(), whole(h), whole(inner))
            .product(Product.Kind.DENSE, tokens(), whole(h), whole(2.0 * inner))
            .product(dense(positions, h, inner, 2))
            .product(Product.Kind.DENSE, tokens(), whole(inner), whole(h))
            .attends(
                new AttentionCore(
                    AttentionCore.Kind.RELATIVE,
                    q,
                    q * m + (lengths.same() ? 0 : q * (q + 1) / 2),
                    3,
                    whole(inner),
                    config.dHead(),
                    List.of()))
            .keeps(tokens(), whole(2.0 * inner))
            .keeps(Amount.floats(tokens(), whole(config.nHead())))
            .keeps(Amount.bf16Alone(tokens(), whole(weights), RelativeAttention.MOST_KEPT_BYTES))
            .keeps(keys, whole(2.0 * inner))
            .keeps(positions, whole(inner))
            .needs(tokens(), whole(h + 2.0 * inner))
            .needs(keys, whole(2.0 * inner));
    if (m > 0) {
      Rows memory = Rows.tokens(m);
      part.product(dense(memory, h, 2.0 * inner, 2))
          .moves(keys, whole(2.0 * h))
          .moves(memory, whole(2.0 * h))
          .keeps(memory, whole(h))
          .keeps(keys, whole(h));
    }
    return part.build();
  }

  private static Product dense(Rows rows, double in, double out, int passes) {
    return new Product(Product.Kind.DENSE, rows, whole(in), whole(out), passes);
  }

  private ModelPart feedForward() {
    return LayerCosts.feedForward(
            "feed-forward", lengths.queries(), config.layerShape(), config.dInner(), "d-inner")
        .build();
  }

  private List<ModelPart> experts() {
    LayerShape shape = config.layerShape();
    int size = moe.expertHiddenSize(shape, "--d-inner");
    return new MoeCosts(moe, lengths.queries(), shape, size).parts();
  }
}
