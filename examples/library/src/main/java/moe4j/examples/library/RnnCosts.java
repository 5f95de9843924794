package moe4j.examples.library;

import static moe4j.cost.Width.whole;

import java.util.ArrayList;
import java.util.List;
import moe4j.cost.Costs;
import moe4j.cost.ModelPart;
import moe4j.cost.Product;
import moe4j.cost.Rows;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeCosts;
import moe4j.transformer.LayerCosts;
import moe4j.transformer.LayerShape;

/** What a character RNN costs. */
final class RnnCosts {
  private static final Costs.Limits LIMITS =
      new Costs.Limits("a character RNN's matrices are whole on every process", false);

  private RnnCosts() {}

  static Costs of(RnnFlags flags, MoeConfig moe, int vocabulary) {
    LayerShape shape = flags.layerShape();
    int length = flags.seqLength();
    Rows characters = Rows.tokens(length);
    int h = flags.hiddenSize();
    ModelPart embedding =
        ModelPart.named("characters")
            .parameters(0, (long) vocabulary * h)
            .moves(characters, whole(h))
            .build();
    // [unit]
    ModelPart unit =
        ModelPart.named("recurrent unit")
            .parameters(0, 6L * h * h + 3L * h)
            .product(Product.Kind.DENSE, characters, whole(h), whole(3.0 * h))
            .product(Product.Kind.DENSE, characters, whole(h), whole(3.0 * h))
            .moves(characters, whole(20.0 * h))
            .keeps(characters, whole(14.0 * h))
            .build();
    // [/unit]
    ModelPart output =
        ModelPart.named("output")
            .product(Product.Kind.OUTPUT, characters, whole(h), whole(vocabulary))
            .keeps(characters, whole(vocabulary))
            .build();
    List<List<ModelPart>> layers = new ArrayList<>();
    for (boolean experts : moe.moeLayers(flags.numLayers())) {
      List<ModelPart> layer = new ArrayList<>(List.of(unit));
      layer.addAll(
          experts
              ? new MoeCosts(moe, length, shape, moe.expertHiddenSize(shape)).parts()
              : List.of(
                  LayerCosts.feedForward(
                          "feed-forward", length, shape, flags.ffnHiddenSize(), "ffn-hidden-size")
                      .build()));
      layers.add(layer);
    }
    return new Costs(length, List.of(embedding), layers, List.of(output), LIMITS);
  }
}
