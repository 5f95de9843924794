package moe4j.examples.library;

import moe4j.kernels.dropout.Draw;
import moe4j.kernels.experts.TopK;
import moe4j.kernels.product.Gemm;
import moe4j.moe.gate.Balance;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.GateSpec;
import moe4j.moe.gate.Routing;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

// [gate]
/**
 * A cosine router (Chi et al. 2022): a token goes to the experts whose embeddings lie in the
 * direction of its own, both in a few dimensions d. Weights are the probabilities {@code
 * softmax(cos / tau)}, tau learnt. In training the choice, and not the weights, sees noise of
 * standard deviation 1 / E on the logits (Riquelme et al. 2021).
 */
public final class OwnGate implements Gate {
  /** The log's key of the loss. */
  public static final String LOSS = "cosine_loss";

  /** The log's key of tau. */
  public static final String TEMPERATURE = "cosine temperature";

  private static final double FIRST_TEMPERATURE = 0.3;

  private final Shape shape;
  private final Tensor projection;
  private final Tensor embeddings;
  private final Tensor logTemperature;

  /** The gate of a layer. */
  public OwnGate(Shape shape, ParameterScope parameters) {
    this.shape = shape;
    long d = Math.max(2, shape.experts() / 2);
    this.projection = parameters.weight("projection", shape.initMethodStd(), d, shape.hiddenSize());
    this.embeddings = parameters.weight("embeddings", shape.initMethodStd(), shape.experts(), d);
    this.logTemperature = parameters.bias("log_temperature", 1);
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    // Routing is computed in fp32, whatever the model's type.
    Tensor own = Gemm.linear(fp32(hidden), fp32(projection), null);
    Tensor cosine = Gemm.linear(unit(own), unit(fp32(embeddings)), null);
    Tensor temperature = fp32(logTemperature).exp().mul(new Scalar(FIRST_TEMPERATURE));
    Tensor logits = cosine.div(temperature);
    Tensor probabilities = logits.softmax(1);
    Tensor seen = pass.isTraining() ? noisy(logits.detach(), pass) : logits.detach();
    Tensor chosen = TopK.of(seen, shape.topk()).indices();
    if (pass.isTraining()) {
      Tensor counts = Balance.counts(chosen, shape.experts());
      Tensor loss = Balance.switchLoss(probabilities, counts, shape.topk());
      pass.addLoss(new Pass.SideLoss(LOSS, shape.layer(), loss, shape.lossWeight()));
      pass.addFigure(new Pass.Figure(TEMPERATURE, shape.layer(), temperature.mean()));
    }
    return Routing.ofChoices(chosen, probabilities.gather(1, chosen), shape.experts());
  }

  private Tensor noisy(Tensor logits, Pass pass) {
    Tensor noise = Draw.normal(pass.random(), logits, shape.layer() + 1, Operation.GATE.id());
    return noise.mul_(new Scalar(1.0 / shape.experts())).add_(logits);
  }

  private static Tensor fp32(Tensor t) {
    return t.to(ScalarType.Float);
  }

  /** Rows of length one; of zeros, zeros. */
  private static Tensor unit(Tensor rows) {
    return rows.mul(torch.rsqrt(rows.square().sum(1).add(new Scalar(1e-12))).unsqueeze(1));
  }

  /** Makes the gate from a command line: {@code --balance-strategy} takes this class's name. */
  public static final class Factory implements Gate.Factory {
    @Override
    public Gate create(Shape shape, ParameterScope parameters) {
      return new OwnGate(shape, parameters);
    }

    /** What flags, plan and the report ask; without it nothing is known of the gate. */
    @Override
    public GateSpec spec() {
      return GateSpec.named("cosine")
          .described("A token goes to the experts whose embeddings lie in its direction.")
          .weights(GateSpec.Weights.VARY)
          .balanced(GateSpec.Balanced.BY_LOSS)
          .limit(GateSpec.Limit.NONE)
          .draws(GateSpec.Draws.SCORES)
          .parameters((h, experts) -> Math.max(2, experts / 2) * (long) (h + experts) + 1);
    }
  }
}
// [/gate]
