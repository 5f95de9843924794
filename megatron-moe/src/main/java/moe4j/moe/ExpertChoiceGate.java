package moe4j.moe;

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
    Tensor scores = probabilities.t();
    long rows =
        new Capacity(factor, Capacity.Policy.PROBS, true)
            .rows(tokens, shape.topk(), shape.experts());
    Tensor token = torch.argsort(scores.detach(), true, 1, true).narrow(1, 0, rows).contiguous();
    if (pass.isTraining()) {
      Balance.leaveEntropy(probabilities, shape.layer(), pass);
      Tensor taken = torch.zeros(new long[] {tokens}, probabilities.detach().options());
      taken = taken.index_fill(0, token.flatten(), new Scalar(1));
      Tensor untaken = taken.eq(new Scalar(0)).to(ScalarType.Float).mean();
      pass.addFigure(new Pass.Figure(UNTAKEN, shape.layer(), untaken));
    }
    return Routing.ofExpertChoices(token, scores.gather(1, token), tokens);
  }
}
