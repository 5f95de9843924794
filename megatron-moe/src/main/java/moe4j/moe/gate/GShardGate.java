package moe4j.moe.gate;

import moe4j.kernels.dropout.Draw;
import moe4j.kernels.experts.TopK;
import moe4j.tensor.Tensors;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * GShard's gate in FastMoE's form (Lepikhin et al. 2020, algorithm 1): two experts a token,
 * weighted by a softmax over their logits; each expert takes {@code ceil(rate T) 2 / E} choices
 * (rounded down, at least one), those of the first tokens; in training a second expert of weight w
 * is taken with probability min(1, 2 w) only. What is dropped adds nothing, and the other weight
 * stays as it is. Its loss is {@code E sum_e c_e m_e}, c_e the share of tokens whose first choice e
 * is, m_e the mean of P[t, e]: 1 where balanced.
 */
public final class GShardGate implements Gate {
  /** What the gate is like. */
  public static final GateSpec SPEC =
      GateSpec.named("gshard")
          .described(
              "A token goes to two experts, weighted by a softmax over their logits, in training to"
                  + " the second one at random by its weight (Lepikhin et al. 2020).")
          .onlyTopk(2)
          .weights(GateSpec.Weights.SUM_TO_ONE)
          .balanced(GateSpec.Balanced.BY_LOSS)
          .limit(GateSpec.Limit.OWN)
          .draws(GateSpec.Draws.CHOICES)
          .parameters(GateSpec.Parameters.MATRIX_AND_BIAS);

  /** The log's key of the loss. */
  public static final String LOSS = "gshard_loss";

  private final Shape shape;
  private final Quota quota;
  private final RouterLinear linear;

  /**
   * The gate of a layer.
   *
   * @throws IllegalArgumentException where a token is to have other than two experts
   */
  public GShardGate(Shape shape, Quota quota, ParameterScope parameters) {
    if (shape.topk() != 2) {
      throw new IllegalArgumentException(
          "GShard's gate sends a token to 2 experts, not to %d".formatted(shape.topk()));
    }
    this.shape = shape;
    this.quota = quota;
    this.linear = new RouterLinear(shape, true, parameters);
  }

  @Override
  public boolean takesSlices() {
    return true;
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    int experts = shape.experts();
    Tensor logits = linear.logits(hidden, pass);
    TopK top = TopK.of(logits, 2);
    Tensor weights = top.values().softmax(1);
    long rows = Math.max(1, quota.tokens(logits.size(0), pass) * 2 / experts);
    RealTokens real = RealTokens.of(logits.size(0), pass);
    Tensor wanted = real.choices(top.indices());
    Tensor chosen =
        real.all()
            ? Capacity.first(wanted, experts, rows)
            : Capacity.first(wanted, experts, rows(real, pass));
    if (pass.isTraining()) {
      Tensor probabilities = logits.softmax(1);
      Tensor first = Tensors.slice(wanted, 1, 0, 1);
      Tensor loss = Balance.switchLoss(probabilities, Balance.counts(first, experts), 1, real);
      pass.addLoss(new Pass.SideLoss(LOSS, shape.layer(), loss, shape.lossWeight()));
      Balance.leaveEntropy(probabilities, shape.layer(), pass);
      chosen = chosen.masked_fill(unwanted(weights, pass), new Scalar(-1));
    }
    return quota.route(chosen, weights, experts, rows);
  }

  private Tensor rows(RealTokens real, Pass pass) {
    Tensor choices = quota.tokens(real, pass).mul(new Scalar(2));
    return choices.floor_divide(new Scalar(shape.experts())).clamp_min(new Scalar(1));
  }

  /** The second choices that are not taken: bool [T, 2]. */
  private Tensor unwanted(Tensor weights, Pass pass) {
    Tensor second = Tensors.slice(weights.detach(), 1, 1, 2);
    Tensor draws =
        Draw.uniform(pass.random(), second, shape.layer() + 1, Operation.SECOND_EXPERT.id());
    Tensor late = second.mul(new Scalar(2)).lt(draws);
    return torch.cat(new TensorVector(torch.zeros_like(late), late), 1);
  }
}
