package moe4j.moe.gate;

import moe4j.kernels.experts.RouterScore;
import moe4j.kernels.experts.TokenRouter;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * FastMoE's naive gate: a linear layer with a bias, the k largest logits, a softmax over those.
 * Nothing balances it.
 */
public final class NaiveGate implements Gate {
  /** What the gate is like. */
  public static final GateSpec SPEC =
      GateSpec.named("naive")
          .described(
              "A token goes to the experts of its k largest logits, weighted by a softmax over these.")
          .weights(GateSpec.Weights.SUM_TO_ONE)
          .balanced(GateSpec.Balanced.BY_NOTHING)
          .limit(GateSpec.Limit.NONE)
          .draws(GateSpec.Draws.NOTHING)
          .parameters(GateSpec.Parameters.MATRIX_AND_BIAS);

  private final Shape shape;
  private final RouterLinear linear;

  /** The gate of a layer. */
  public NaiveGate(Shape shape, ParameterScope parameters) {
    this.shape = shape;
    this.linear = new RouterLinear(shape, true, parameters);
  }

  @Override
  public boolean takesSlices() {
    return true;
  }

  @Override
  public boolean leavesPaddingOut() {
    return true;
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    boolean training = pass.isTraining();
    TokenRouter.Form form =
        new TokenRouter.Form(RouterScore.LOGITS, shape.topk(), 1, training, false);
    TokenRouter made = linear.route(hidden, form, null, pass);
    if (training) {
      pass.addFigure(new Pass.Figure(Balance.ENTROPY, shape.layer(), made.losses().entropy()));
    }
    return Routing.of(made);
  }
}
