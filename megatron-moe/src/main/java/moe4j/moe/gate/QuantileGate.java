package moe4j.moe.gate;

import moe4j.kernels.experts.RouterScore;
import moe4j.kernels.experts.TopK;
import moe4j.parallel.Group;
import moe4j.tensor.Tensors;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Quantile balancing (Kimi K3's technical report, section 2.3.3 and appendix D): a token's scores
 * are the sigmoids of its logits, s[t, e]; it goes to the k experts of which s[t, e] + b[e] is the
 * largest, weighted by s alone, divided by its sum where k is above 1. After each step the bias is
 * the one with which every expert would have been wanted by its share of that step's tokens:
 *
 * <pre>  x[t, e] = (the (k + 1)-th largest of s[t, .] + b) - s[t, e]
 *  b'[e]   = the k / E quantile over t of x[t, e],  b = b' - mean(b')</pre>
 *
 * x[t, e] being the bias above which a token would choose the expert. So the load is even without a
 * loss, without a rate to choose, and within a few steps.
 *
 * <p>The quantile is of the tokens of all micro-batches and ranks of a step, so that it does not
 * depend on how these are cut. They are counted in {@value #BINS} bins between {@code min(b) - 1}
 * and {@code max(b) + 1}, which no x can leave; within a bin the quantile is interpolated.
 */
public final class QuantileGate implements Gate {
  /** What the gate is like. */
  public static final GateSpec SPEC =
      GateSpec.named("quantile")
          .described(
              "A token goes to the experts of its k largest sigmoids plus a bias, which each step"
                  + " sets anew so that the load is even (Kimi K3), weighted by the sigmoids alone.")
          .weights(GateSpec.Weights.SEVERAL_SUM_TO_ONE)
          .balanced(GateSpec.Balanced.BY_ITSELF)
          .limit(GateSpec.Limit.NONE)
          .draws(GateSpec.Draws.NOTHING)
          .parameters(GateSpec.Parameters.MATRIX);

  static final int BINS = 1000;

  private final Shape shape;
  private final RouterLinear linear;
  private final Tensor bias;

  /** How many tokens of the step so far need a bias of each bin: fp32 [E, BINS], or null. */
  private final Tensor needed;

  private final Group data;

  /**
   * The gate of a layer.
   *
   * @param parameters takes {@code weight}, and a buffer {@code expert_bias}, [E]
   */
  public QuantileGate(Shape shape, ParameterScope parameters) {
    this.shape = shape;
    this.linear = new RouterLinear(shape, false, parameters);
    this.bias = parameters.buffer("expert_bias", shape.experts());
    this.data = parameters.groups().data();
    // Where a token goes to all experts, there is nothing to balance.
    boolean chooses = shape.topk() < shape.experts();
    this.needed = chooses ? parameters.scratch(shape.experts(), BINS) : null;
    if (chooses) {
      parameters.atStepEnd(this::update);
    }
  }

  @Override
  public boolean takesSlices() {
    return true;
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    int k = shape.topk();
    Tensor scores = linear.logits(hidden, pass).sigmoid();
    RealTokens real = RealTokens.of(scores.size(0), pass);
    boolean counts = pass.isTraining() && needed != null;
    TopK top = TopK.of(scores.detach().add(bias), counts ? k + 1 : k);
    Tensor chosen = Tensors.slice(top.indices(), 1, 0, k);
    Tensor own = scores.gather(1, chosen);
    if (pass.isTraining()) {
      Balance.leaveEntropy(RouterScore.normalised(scores.detach()), shape.layer(), pass);
    }
    if (counts) {
      count(Tensors.slice(top.values(), 1, k, k + 1).sub(scores.detach()), real);
    }
    return Routing.ofChoices(
        real.choices(chosen), k > 1 ? RouterScore.normalised(own) : own, shape.experts());
  }

  /** The bias of the first bin's start. */
  private Tensor least() {
    return bias.min().sub(new Scalar(1));
  }

  /** How much bias a bin spans. */
  private Tensor width() {
    return bias.max().sub(bias.min()).add(new Scalar(2)).mul(new Scalar(1.0 / BINS));
  }

  /**
   * Counts what bias each token needs.
   *
   * @param x fp32 [T, E]
   */
  private void count(Tensor x, RealTokens real) {
    Tensor bins = x.sub(least()).div(width()).to(ScalarType.Long);
    bins = bins.clamp_min(new Scalar(0)).clamp_max(new Scalar(BINS - 1));
    Tensor ones = real.values(torch.ones_like(x));
    needed.scatter_add_(1, bins.t(), ones.t());
  }

  /** Sets the bias by what all ranks have counted, unless the step was skipped or had no tokens. */
  private void update(Tensor foundInf) {
    data.allReduce(needed, Group.Reduction.SUM).await();
    // In fp64, in which counts times experts are whole numbers.
    Tensor counts = needed.to(ScalarType.Double);
    Tensor reached = counts.cumsum(1);
    Tensor tokens = reached.narrow(1, BINS - 1, 1);
    Tensor wanted = tokens.mul(new Scalar(shape.topk()));
    Tensor below = reached.mul(new Scalar(shape.experts())).lt(wanted);
    Tensor bin = below.sum(1).unsqueeze(1).clamp_max(new Scalar(BINS - 1));
    Tensor inside = counts.gather(1, bin);
    Tensor before = reached.gather(1, bin).sub(inside);
    Tensor share = wanted.div(torch.full_like(wanted, new Scalar(shape.experts()))).sub(before);
    Tensor place = bin.add(share.div(inside.clamp_min(new Scalar(1))));
    Tensor next = place.mul(width()).add(least()).squeeze(1);
    Tensor centred = next.sub(next.mean()).to(ScalarType.Float);
    Tensor stays = tokens.squeeze(1).eq(new Scalar(0)).logical_or(foundInf.gt(new Scalar(0)));
    bias.copy_(torch.where(stays, bias, centred));
    needed.zero_();
  }
}
