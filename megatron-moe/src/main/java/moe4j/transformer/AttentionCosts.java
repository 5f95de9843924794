package moe4j.transformer;

import static moe4j.cost.Width.tensor;
import static moe4j.cost.Width.whole;

import java.util.List;
import moe4j.cost.Amount;
import moe4j.cost.AttentionCore;
import moe4j.cost.Crossing;
import moe4j.cost.Divisible;
import moe4j.cost.ModelPart;
import moe4j.cost.Product;
import moe4j.cost.Rows;

/** What {@link Attention} costs, as its code computes and keeps it on a GPU. */
public final class AttentionCosts {
  private final Attention.Form form;
  private final boolean rotates;

  private AttentionCosts(Attention.Form form, boolean rotates) {
    this.form = form;
    this.rotates = rotates;
  }

  /**
   * The costs of a layer's attention.
   *
   * @param shape the sizes, biases and deviations of the model's layers
   * @param form heads, groups, channels, dropout and norms of the attention
   * @param sequence S, tokens of a sequence
   * @param rotates whether queries and keys are rotated
   */
  public static ModelPart of(LayerShape shape, Attention.Form form, int sequence, boolean rotates) {
    return new AttentionCosts(form, rotates).part(shape, sequence);
  }

  private boolean groupsHeads() {
    return form.groups() < form.heads();
  }

  /** Vectors that a norm of queries or of keys learns; 0 where they are not normalised. */
  private int normVectors() {
    return form.norm() == null ? 0 : LayerCosts.vectors(form.norm().kind());
  }

  private ModelPart part(LayerShape shape, int sequence) {
    int hidden = shape.hiddenSize();
    long queryChannels = (long) form.heads() * form.channels();
    long qkv = queryChannels + 2L * form.groups() * form.channels();
    double q = queryChannels;
    double c = (double) form.groups() * form.channels();
    Rows tokens = Rows.tokens(sequence);
    Amount stream = Amount.elements(tokens, whole(hidden));
    // Attention's weights, S for each head and token. With dropout they pass through memory.
    Amount weights = Amount.floats(tokens, tensor((double) sequence * form.heads()));
    ModelPart.Builder part =
        ModelPart.named("attention")
            .parameters(
                qkv * (hidden + (form.qkvBias() ? 1 : 0)) + hidden * queryChannels,
                2L * normVectors() * form.channels() + (shape.bias() ? hidden : 0))
            .product(Product.Kind.DENSE, tokens, whole(hidden), tensor(q + 2 * c))
            .product(Product.Kind.DENSE, tokens, tensor(q), whole(hidden))
            .attends(
                new AttentionCore(
                    AttentionCore.Kind.PLAIN,
                    sequence,
                    // The mask leaves half, as Megatron counts it.
                    (double) sequence * sequence / 2,
                    2,
                    tensor(q),
                    form.channels(),
                    drops() ? List.of(weights) : List.of()))
            .moves(tokens, tensor(moved(q, c)))
            .needs(tokens, whole(hidden))
            .needs(tokens, tensor(3 * q + 4 * c))
            .crosses(Crossing.Kind.INTO_BLOCK, stream)
            .crosses(Crossing.Kind.OUT_OF_BLOCK, stream)
            .divides(Divisible.of(Divisible.By.TENSOR, "num-attention-heads", form.heads()))
            .divides(Divisible.of(Divisible.By.SEQUENCE, "seq-length", sequence));
    if (groupsHeads()) {
      part.divides(Divisible.of(Divisible.By.TENSOR, "num-query-groups", form.groups()));
    }
    keep(part, tokens, q, c);
    if (drops()) {
      // With dropout the weights are kept twice: in fp32 before it, in the model's type after it.
      part.keeps(weights).keeps(tokens, weights.width());
    }
    return part.build();
  }

  private boolean drops() {
    return form.dropout() > 0;
  }

  /** Channels that kernels read and write for each token, forward and backward. */
  private double moved(double q, double c) {
    double heads = 2 * (q + 2 * c);
    heads += form.norm() != null ? 8 * (q + c) : 0;
    heads += rotates ? 20 * (q + c) : 0;
    heads += groupsHeads() ? 4 * (q + c) : 0;
    return heads;
  }

  /**
   * Says what attention keeps for the backward: queries, keys, values, its output (which the output
   * projection keeps, too) and the rows' log-sums in fp32. As long as queries, keys or values are
   * views of their common projection, all of that stays. The results of norms, of rotations and of
   * copies for grouped heads come in addition.
   */
  private void keep(ModelPart.Builder part, Rows tokens, double q, double c) {
    boolean views = !groupsHeads() || !(form.norm() != null || rotates);
    double kept = q + (views ? q + 2 * c : 0);
    double floats = form.heads();
    if (form.norm() != null) {
      kept += q + c;
      floats += (double) (form.heads() + form.groups()) * normVectors();
    }
    if (form.norm() != null || rotates) {
      kept += q + (groupsHeads() ? 0 : c);
    }
    if (groupsHeads()) {
      kept += 2 * q;
    }
    part.keeps(tokens, tensor(kept)).keeps(Amount.floats(tokens, tensor(floats)));
  }
}
