package moe4j.moe.gate;

import moe4j.kernels.experts.TopK;
import moe4j.tensor.Scopes;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * FastMoE's swipe gate: in training, choices that an expert has no room for go to experts that
 * have, so that none takes more than {@code ceil(T k / E)}. First all tokens' first choices are
 * settled, then the second ones with the room that is left, and so on; of an expert's choices the
 * first tokens' are kept, and the others fill the free experts in their order. The weights are a
 * softmax over the logits of where a token ends up. In evaluation tokens go where they want.
 *
 * <p>FastMoE balances workers in this way, not experts; here it is experts, so that routes do not
 * depend on the layout. As there, a choice that was moved may meet another of its token's.
 */
public final class SwipeGate implements Gate {
  /** What the gate is like. */
  public static final GateSpec SPEC =
      GateSpec.named("swipe")
          .described(
              "A token goes to the experts of its k largest logits, in training to others where these"
                  + " have no room, weighted by a softmax over the logits of where it ends up.")
          .weights(GateSpec.Weights.SUM_TO_ONE)
          .balanced(GateSpec.Balanced.BY_ITSELF)
          .limit(GateSpec.Limit.SHARE)
          .draws(GateSpec.Draws.NOTHING)
          .parameters(GateSpec.Parameters.MATRIX_AND_BIAS);

  private static final Scalar ZERO = Scopes.keep(() -> new Scalar(0));

  private final Shape shape;
  private final RouterLinear linear;

  /** The gate of a layer. */
  public SwipeGate(Shape shape, ParameterScope parameters) {
    this.shape = shape;
    this.linear = new RouterLinear(shape, true, parameters);
  }

  @Override
  public boolean takesSlices() {
    return true;
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    int k = shape.topk();
    int experts = shape.experts();
    Tensor logits = linear.logits(hidden, pass);
    TopK top = TopK.of(logits, k);
    RealTokens real = RealTokens.of(logits.size(0), pass);
    Tensor wanted = real.choices(top.indices());
    if (!pass.isTraining()) {
      return Routing.ofChoices(wanted, top.values().softmax(1), experts);
    }
    Tensor room = room(real, wanted);
    TensorVector columns = new TensorVector();
    for (int j = 0; j < k; j++) {
      Tensor settled = settle(wanted.narrow(1, j, 1), room);
      room = room.sub(Balance.counts(settled, experts));
      columns.push_back(settled);
    }
    Tensor chosen = torch.cat(columns, 1);
    Balance.leaveEntropy(logits.detach().softmax(1), shape.layer(), pass);
    Tensor weights = logits.gather(1, chosen.clamp_min(ZERO)).softmax(1);
    return Routing.ofChoices(chosen, weights, experts);
  }

  /** {@code ceil(T k / E)} of the real tokens, for each expert. */
  private Tensor room(RealTokens real, Tensor wanted) {
    long experts = shape.experts();
    long k = shape.topk();
    if (real.all()) {
      long quota = (real.rows() * k + experts - 1) / experts;
      return torch.full(new long[] {experts}, new Scalar(quota), wanted.options());
    }
    Tensor choices = real.count().to(ScalarType.Long).mul(new Scalar(k));
    return choices
        .add(new Scalar(experts - 1))
        .floor_divide(new Scalar(experts))
        .expand(new long[] {experts});
  }

  /**
   * One choice of each token, none of them without room.
   *
   * @param wanted int64 [T, 1], -1 for padding, which wants nothing
   * @param room int64 [E], T in all at least
   */
  private Tensor settle(Tensor wanted, Tensor room) {
    Tensor rank = Routing.rank(wanted, shape.experts());
    Tensor own = room.index_select(0, wanted.flatten().clamp_min(ZERO)).view(wanted.shape());
    Tensor over = rank.ge(own);
    Tensor kept = torch.minimum(room, Balance.counts(wanted, shape.experts()));
    Tensor free = room.sub(kept).cumsum(0);
    // The n-th choice that is over goes to the expert which has the n-th free place.
    Tensor number = over.to(wanted.scalar_type()).cumsum(0).sub(new Scalar(1)).clamp_min(ZERO);
    Tensor moved = torch.bucketize(number, free, false, true);
    return torch.where(over, moved.clamp_max(new Scalar(shape.experts() - 1L)), wanted);
  }
}
