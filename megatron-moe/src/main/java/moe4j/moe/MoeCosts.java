package moe4j.moe;

import static moe4j.cost.Width.expert;
import static moe4j.cost.Width.whole;

import java.util.ArrayList;
import java.util.List;
import moe4j.cost.Amount;
import moe4j.cost.Crossing;
import moe4j.cost.Divisible;
import moe4j.cost.ModelPart;
import moe4j.cost.Parameters;
import moe4j.cost.Product;
import moe4j.cost.Rows;
import moe4j.cost.TokenSpread;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.gate.Capacity;
import moe4j.moe.gate.GateSpec;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerCosts;
import moe4j.transformer.LayerShape;

/**
 * What a layer with experts costs, as {@link MoeLayer} computes it: gate, experts and perhaps a
 * shared expert. The gate's {@link GateSpec} says its parameters and whether experts are filled.
 */
public final class MoeCosts {
  private final MoeConfig moe;
  private final int sequence;
  private final LayerShape shape;
  private final int hidden;
  private final int inner;
  private final Activation activation;
  private final TokenSpread routing;

  /**
   * The costs of a layer of a model.
   *
   * @param moe flags with {@code --num-experts}
   * @param sequence tokens of a sequence
   * @param inner f, the hidden size of one expert
   */
  public MoeCosts(MoeConfig moe, int sequence, LayerShape shape, int inner) {
    this.moe = moe;
    this.sequence = sequence;
    this.shape = shape;
    this.hidden = shape.hiddenSize();
    this.inner = inner;
    this.activation = shape.activation();
    this.routing = routing(moe);
  }

  private static TokenSpread routing(MoeConfig moe) {
    Capacity capacity = moe.capacity();
    boolean filled = moe.gate().limit() == GateSpec.Limit.FILLED;
    double unlimited = filled ? 1 : Double.POSITIVE_INFINITY;
    return new TokenSpread(
        moe.numExperts(),
        moe.moeRouterTopk(),
        moe.tokenDispatcher() == TokenDispatcher.Kind.ALL_GATHER,
        capacity == null ? unlimited : capacity.factor(),
        filled || (capacity != null && capacity.padded()));
  }

  /** The parts of a layer: gate, experts and, where there is one, the shared expert. */
  public List<ModelPart> parts() {
    List<ModelPart> parts = new ArrayList<>(List.of(gate(), experts()));
    if (moe.moeSharedExpertIntermediateSize() != null) {
      parts.add(shared());
    }
    return parts;
  }

  private Rows rows(Rows.Kind kind) {
    return Rows.routed(kind, sequence, routing);
  }

  /**
   * The gate: a dozen passes over the fp32 scores. Kept for the backward are the logits, what the
   * losses keep of the scores, and the places and weights of the routes.
   */
  private ModelPart gate() {
    Rows routed = rows(Rows.Kind.ROUTED);
    double experts = moe.numExperts();
    return ModelPart.named("gate")
        .parameters(0, moe.gate().parameters().count(hidden, moe.numExperts()))
        .product(Product.Kind.GATE, routed, whole(hidden), whole(experts))
        .moves(Amount.floats(routed, whole(12 * experts)))
        .keeps(Amount.floats(routed, whole(2 * experts)))
        .keeps(Amount.bytes(routed, whole(32.0 * moe.moeRouterTopk())))
        .divides(Divisible.of(Divisible.By.ROUTING, "seq-length", sequence))
        .build();
  }

  /**
   * The experts. Kept for the backward are their input and the values before and after the
   * activation, whose output is multiplied by the gate's weight. Rows go to the experts and back
   * and are added up by token.
   */
  private ModelPart experts() {
    double f = inner;
    int i = activation.inputs();
    long bias = moe.addExpertBias() ? 1 : 0;
    long each = (long) i * inner * (hidden + bias) + (long) hidden * inner;
    Rows computed = rows(Rows.Kind.COMPUTED);
    Rows held = rows(Rows.Kind.HELD);
    Rows routed = rows(Rows.Kind.ROUTED);
    double h = hidden;
    return ModelPart.named("experts")
        .parameters(new Parameters(0, 0, moe.numExperts() * each, moe.numExperts() * bias * hidden))
        .product(Product.Kind.GROUPED, computed, whole(h), expert(i * f))
        .product(Product.Kind.GROUPED, computed, expert(f), whole(h))
        .moves(computed, expert((3 * i + 2) * f))
        .moves(rows(Rows.Kind.CHOSEN), whole(4 * h))
        .moves(routed, whole(4 * h))
        .moves(rows(Rows.Kind.ARRIVING), whole(4 * h))
        .keeps(held, whole(h))
        .keeps(held, expert(kept() * f))
        .needs(held, whole(2 * h))
        .needs(held, expert((i + 1) * f))
        .needs(rows(Rows.Kind.UNDERWAY), whole(2 * h))
        .crosses(Crossing.Kind.AROUND_PARTS, Amount.elements(Rows.tokens(sequence), whole(h)))
        .exchanges(Amount.elements(routed, whole(h)))
        .divides(Divisible.of(Divisible.By.EXPERT, "num-experts", moe.numExperts()))
        .divides(
            Divisible.of(Divisible.By.EXPERT_TENSOR, "moe-ffn-hidden-size", inner)
                .called(
                    moe.moeFfnHiddenSize() == null
                        ? "an expert's hidden size of"
                        : "--moe-ffn-hidden-size")
                .aligned(16))
        .build();
  }

  private int kept() {
    int dense = LayerCosts.kept(activation);
    return switch (activation) {
      case RELU, SQUARED_RELU -> dense + 1;
      case GELU, SWIGLU -> dense;
    };
  }

  /** The expert that all tokens go to. The output that its own gate multiplies is kept. */
  private ModelPart shared() {
    int width = moe.moeSharedExpertIntermediateSize();
    ModelPart.Builder part =
        LayerCosts.feedForward(
            "shared expert", sequence, shape, width, "moe-shared-expert-intermediate-size");
    if (moe.moeSharedExpertGate()) {
      part.parameters(0, hidden).keeps(Rows.stream(sequence), whole(hidden));
    }
    return part.build();
  }
}
