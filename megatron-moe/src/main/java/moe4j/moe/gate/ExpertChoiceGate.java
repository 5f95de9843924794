package moe4j.moe.gate;

import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Experts choose tokens (Zhou et al. 2022): each takes the C tokens whose probability for it is the
 * largest, of equal ones the first; {@code C = ceil(((T k) / E) factor)}. All experts have the same
 * load without any loss; a token gets any number of experts, k on average, weighted by its
 * probabilities, and perhaps none: the share of those is logged.
 *
 * <p>Whether a token is taken depends on the others of its batch, later ones of its sequence
 * included. So in a causal model it tells of the future, and a token by itself is routed in another
 * way than among others.
 */
public final class ExpertChoiceGate implements Gate {
  /** What the gate is like. */
  public static final GateSpec SPEC =
      GateSpec.named("expert_choice")
          .described(
              "Each expert takes the T k / E tokens whose probability for it is the largest, weighted"
                  + " by that (Zhou et al. 2022).")
          .byExperts()
          .weights(GateSpec.Weights.VARY)
          .balanced(GateSpec.Balanced.BY_ITSELF)
          .limit(GateSpec.Limit.FILLED)
          .draws(GateSpec.Draws.NOTHING)
          .parameters(GateSpec.Parameters.MATRIX);

  /** The log's key of the share of tokens that no expert has taken. */
  public static final String UNTAKEN = "tokens without expert";

  private final Shape shape;
  private final double factor;
  private final RouterLinear linear;

  /**
   * The gate of a layer.
   *
   * @param factor of the capacity; with 1 the experts compute T k rows in all
   */
  public ExpertChoiceGate(Shape shape, double factor, ParameterScope parameters) {
    this.shape = shape;
    this.factor = factor;
    this.linear = new RouterLinear(shape, false, parameters);
  }

  @Override
  public boolean takesSlices() {
    return true;
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    Tensor probabilities = linear.logits(hidden, pass).softmax(1);
    long tokens = probabilities.size(0);
    RealTokens real = RealTokens.of(tokens, pass);
    Tensor scores = probabilities.t();
    Capacity capacity = new Capacity(factor, Capacity.Policy.PROBS, true);
    long rows = capacity.rows(tokens, shape.topk(), shape.experts());
    // Padding is sorted behind all tokens that have a probability.
    Tensor searched = real.marked(probabilities.detach(), -1).t();
    Tensor token = torch.argsort(searched, true, 1, true).narrow(1, 0, rows).contiguous();
    Tensor weights = scores.gather(1, token);
    if (!real.all()) {
      Tensor number = torch.arange(new Scalar(rows), token.options());
      Tensor none = number.ge(capacity.rows(real, shape.topk(), shape.experts())).unsqueeze(0);
      token = token.masked_fill(none, new Scalar(-1));
      weights = weights.masked_fill(none, new Scalar(0));
    }
    if (pass.isTraining()) {
      Balance.leaveEntropy(probabilities, shape.layer(), pass);
      // A route that names no token takes a place behind all tokens.
      Tensor taken = torch.zeros(new long[] {tokens + 1}, probabilities.detach().options());
      Tensor place = token.flatten().remainder(new Scalar(tokens + 1));
      taken = taken.index_fill(0, place, new Scalar(1)).narrow(0, 0, tokens);
      Tensor untaken = real.mean(taken.eq(new Scalar(0)).to(ScalarType.Float));
      pass.addFigure(new Pass.Figure(UNTAKEN, shape.layer(), untaken));
    }
    return Routing.ofExpertChoices(token, weights, tokens);
  }
}
