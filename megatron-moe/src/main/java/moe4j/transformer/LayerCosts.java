package moe4j.transformer;

import static moe4j.cost.Width.tensor;
import static moe4j.cost.Width.whole;

import moe4j.cost.Amount;
import moe4j.cost.Crossing;
import moe4j.cost.Divisible;
import moe4j.cost.ModelPart;
import moe4j.cost.Product;
import moe4j.cost.Rows;

/** What norms and feed-forward blocks cost, as their code computes and keeps it on a GPU. */
public final class LayerCosts {
  private LayerCosts() {}

  /**
   * A norm of the residual stream after an addition to it. Kept for the backward are the sum, the
   * output, which the next product reads again, and the rows' statistics in fp32. Forward and
   * backward read or write rows of h channels eight times.
   *
   * @param rows the rows that are normalised
   * @param hidden h
   */
  public static ModelPart norm(Rows rows, int hidden, Norm.Kind kind) {
    int vectors = vectors(kind);
    return ModelPart.named("norm")
        .parameters(0, (long) vectors * hidden)
        .moves(rows, whole(8.0 * hidden))
        .keeps(rows, whole(2.0 * hidden))
        .keeps(Amount.floats(rows, whole(vectors)))
        .build();
  }

  /**
   * How many vectors a norm learns (weight and bias), which is also how many numbers it keeps of a
   * row (mean and deviation).
   */
  static int vectors(Norm.Kind kind) {
    return switch (kind) {
      case LAYER_NORM -> 2;
      case RMS_NORM -> 1;
    };
  }

  /**
   * A dense feed-forward block. Its activation reads its input and writes its output; the backward
   * reads the output's gradient and the input, and writes the input's gradient.
   *
   * @param name the part's name
   * @param sequence tokens of a sequence
   * @param shape the sizes and biases of the model's layers
   * @param inner f, the block's hidden size
   * @param flag the flag that gives f, without dashes: messages name it where f cannot be divided
   */
  public static ModelPart.Builder feedForward(
      String name, int sequence, LayerShape shape, int inner, String flag) {
    Rows tokens = Rows.tokens(sequence);
    int hidden = shape.hiddenSize();
    double f = inner;
    int i = shape.activation().inputs();
    long fc1 = (long) i * inner * (hidden + (shape.bias() ? 1 : 0));
    return ModelPart.named(name)
        .parameters(fc1 + (long) hidden * inner, shape.bias() ? hidden : 0)
        .product(Product.Kind.DENSE, tokens, whole(hidden), tensor(i * f))
        .product(Product.Kind.DENSE, tokens, tensor(f), whole(hidden))
        .moves(tokens, tensor((3 * i + 2) * f))
        .keeps(tokens, tensor(kept(shape.activation()) * f))
        .needs(tokens, whole(2.0 * hidden))
        .needs(tokens, tensor((i + 1) * f))
        .crosses(Crossing.Kind.INTO_BLOCK, Amount.elements(tokens, whole(hidden)))
        .crosses(Crossing.Kind.OUT_OF_BLOCK, Amount.elements(tokens, whole(hidden)))
        .divides(Divisible.of(Divisible.By.TENSOR, flag, inner));
  }

  /**
   * Channels kept for each of a block's hidden channels: its activation's inputs and output, or
   * with ReLU the output alone.
   */
  public static int kept(Activation activation) {
    return switch (activation) {
      case GELU, SQUARED_RELU -> 2;
      case SWIGLU -> 3;
      case RELU -> 1;
    };
  }
}
