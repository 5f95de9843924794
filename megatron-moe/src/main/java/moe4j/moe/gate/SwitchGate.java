package moe4j.moe.gate;

import moe4j.kernels.dropout.Draw;
import moe4j.kernels.experts.TopK;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The Switch gate in FastMoE's form (Fedus et al. 2021): one expert a token, weighted by its share
 * of a softmax over all; in training the logits are jittered by adding draws from U[0.9, 1.1); each
 * expert takes {@code ceil(ceil(rate T) / E)} tokens, the first ones. Its loss is {@code E sum_e
 * f_e p_e}, with f_e the share of the tokens that were not dropped and p_e the sum of P[t, e] over
 * their number: 1 where balanced and nothing is dropped.
 */
public final class SwitchGate implements Gate {
  /** What the gate is like. */
  public static final GateSpec SPEC =
      GateSpec.named("switch")
          .described(
              "A token goes to one expert, weighted by its share of a softmax over all logits, which"
                  + " have noise in training (Fedus et al. 2021).")
          .onlyTopk(1)
          .weights(GateSpec.Weights.VARY)
          .balanced(GateSpec.Balanced.BY_LOSS)
          .limit(GateSpec.Limit.OWN)
          .draws(GateSpec.Draws.SCORES)
          .parameters(GateSpec.Parameters.MATRIX_AND_BIAS);

  /** The log's key of the loss. */
  public static final String LOSS = "switch_loss";

  private static final double JITTER = 0.1;

  private final Shape shape;
  private final Quota quota;
  private final RouterLinear linear;

  /**
   * The gate of a layer.
   *
   * @throws IllegalArgumentException where a token is to have other than one expert
   */
  public SwitchGate(Shape shape, Quota quota, ParameterScope parameters) {
    if (shape.topk() != 1) {
      throw new IllegalArgumentException(
          "the Switch gate sends a token to 1 expert, not to %d".formatted(shape.topk()));
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
    if (pass.isTraining()) {
      Tensor draws =
          Draw.uniform(
              pass.random(), logits.detach(), shape.layer() + 1, Operation.GATE_NOISE.id());
      logits = logits.add(draws.mul_(new Scalar(2 * JITTER)).add_(new Scalar(1 - JITTER)));
    }
    Tensor probabilities = logits.softmax(1);
    TopK top = TopK.of(probabilities, 1);
    long rows = (quota.tokens(logits.size(0), pass) + experts - 1) / experts;
    RealTokens real = RealTokens.of(logits.size(0), pass);
    Tensor wanted = real.choices(top.indices());
    Tensor chosen =
        real.all()
            ? Capacity.first(wanted, experts, rows)
            : Capacity.first(wanted, experts, rows(real, pass));
    if (pass.isTraining()) {
      Tensor tokens = Balance.counts(chosen, experts).to(ScalarType.Float);
      Tensor kept = tokens.sum().clamp_min(new Scalar(1));
      Tensor loss =
          tokens
              .div(kept)
              .mul(real.values(probabilities).sum(0).div(kept))
              .sum()
              .mul(new Scalar(experts));
      pass.addLoss(new Pass.SideLoss(LOSS, shape.layer(), loss, shape.lossWeight()));
      Balance.leaveEntropy(probabilities, shape.layer(), pass);
    }
    return quota.route(chosen, top.values(), experts, rows);
  }

  private Tensor rows(RealTokens real, Pass pass) {
    Tensor tokens = quota.tokens(real, pass).add(new Scalar(shape.experts() - 1L));
    return tokens.floor_divide(new Scalar(shape.experts()));
  }
}
