package moe4j.moe.gate;

import moe4j.kernels.dropout.Draw;
import moe4j.kernels.experts.TopK;
import moe4j.tensor.Tensors;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * The noisy top-k gate of Shazeer et al. 2017 (eqs. 3-11): in training, logits plus normal noise of
 * a standard deviation that is learnt, {@code softplus(x w_noise) + 0.01}; the k largest; a softmax
 * over those. Its loss is CV^2 of the experts' importance (their weights' sums) plus CV^2 of their
 * load (the sums of the chance that a token would choose them again).
 */
public final class NoisyGate implements Gate {
  /** What the gate is like. */
  public static final GateSpec SPEC =
      GateSpec.named("noisy")
          .described(
              "A token goes to the experts of its k largest logits, which have learnt noise in"
                  + " training (Shazeer et al. 2017), weighted by a softmax over these.")
          .weights(GateSpec.Weights.SUM_TO_ONE)
          .balanced(GateSpec.Balanced.BY_LOSS)
          .limit(GateSpec.Limit.NONE)
          .draws(GateSpec.Draws.SCORES)
          .parameters((hiddenSize, experts) -> 2L * hiddenSize * experts);

  /** The log's key of the loss. */
  public static final String LOSS = "noisy_loss";

  private static final double LEAST_NOISE = 1e-2;

  private final Shape shape;
  private final RouterLinear clean;
  private final RouterLinear noise;

  /** The gate of a layer. */
  public NoisyGate(Shape shape, ParameterScope parameters) {
    this.shape = shape;
    this.clean = new RouterLinear(shape, false, parameters);
    this.noise = new RouterLinear(shape, false, parameters.child("noise"));
  }

  @Override
  public boolean takesSlices() {
    return true;
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    Tensor logits = clean.logits(hidden, pass);
    RealTokens real = RealTokens.of(logits.size(0), pass);
    if (!pass.isTraining()) {
      TopK top = TopK.of(logits, shape.topk());
      return Routing.ofChoices(
          real.choices(top.indices()), top.values().softmax(1), shape.experts());
    }
    Tensor deviation = torch.softplus(noise.logits(hidden, pass)).add(new Scalar(LEAST_NOISE));
    Tensor draws =
        Draw.normal(pass.random(), logits.detach(), shape.layer() + 1, Operation.GATE_NOISE.id());
    Tensor noisy = logits.add(draws.mul(deviation));
    int k = shape.topk();
    boolean all = k == shape.experts();
    TopK top = TopK.of(noisy, all ? k : k + 1);
    Tensor chosen = Tensors.slice(top.indices(), 1, 0, k);
    Tensor weights = Tensors.slice(top.values(), 1, 0, k).softmax(1);
    Tensor importance = real.values(torch.zeros_like(logits).scatter(1, chosen, weights));
    Tensor load =
        all
            ? importance.gt(new Scalar(0)).sum(0).to(logits.scalar_type())
            : real.values(chances(logits, noisy, deviation, top.values())).sum(0);
    Tensor loss = Balance.cvSquared(importance.sum(0)).add(Balance.cvSquared(load));
    pass.addLoss(new Pass.SideLoss(LOSS, shape.layer(), loss, shape.lossWeight()));
    Balance.leaveEntropy(logits.detach().softmax(1), shape.layer(), pass);
    return Routing.ofChoices(real.choices(chosen), weights, shape.experts());
  }

  /**
   * The chance that an expert is among a token's k when its own noise is drawn anew: it has to be
   * above the k-th largest of the others.
   *
   * @param largest [T, k + 1], the largest first
   */
  private Tensor chances(Tensor logits, Tensor noisy, Tensor deviation, Tensor largest) {
    int k = shape.topk();
    Tensor ifIn = Tensors.slice(largest, 1, k, k + 1);
    Tensor ifOut = Tensors.slice(largest, 1, k - 1, k);
    Tensor threshold = torch.where(noisy.gt(ifIn), ifIn, ifOut);
    return torch.special_ndtr(logits.sub(threshold).div(deviation));
  }
}
