package moe4j.moe;

import moe4j.kernels.RouterProjection;
import moe4j.kernels.Tensors;
import moe4j.kernels.TopK;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import moe4j.transformer.TransformerConfig;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Megatron's router: a linear layer, the k largest logits, a softmax over those (or, with {@code
 * --moe-router-pre-softmax}, over all before the choice). All of it in fp32; of equal logits the
 * lowest expert is chosen. In training it leaves the Switch balance loss (Fedus et al. 2021, eq. 4,
 * with k choices a token)
 *
 * <pre>  E / (k T^2) sum_e tokens[e] sum_t P[t, e],  P = softmax over all experts</pre>
 *
 * which is 1 when balanced, and the z-loss {@code mean_t logsumexp(logits[t])^2} (Zoph et al.
 * 2022). The balance loss is a product of means over the micro-batch: it depends on how a batch is
 * cut. A loss whose coefficient is 0 is not computed and logged as 0, as Megatron does.
 */
public final class TopKRouter implements Gate {
  /** Megatron's log key of the balance loss. */
  public static final String BALANCE_LOSS = "load_balancing_loss";

  /** Megatron's log key of the z-loss. */
  public static final String Z_LOSS = "z_loss";

  private final int layer;
  private final int experts;
  private final int topk;
  private final boolean preSoftmax;
  private final boolean balanced;
  private final double balance;
  private final Double z;
  private final Tensor weight;

  /** The router of a layer, with the scope {@code decoder.layers.N.mlp.router}. */
  public TopKRouter(TransformerConfig model, MoeConfig moe, int layer, ParameterScope parameters) {
    this.layer = layer;
    this.experts = moe.numExperts();
    this.topk = moe.moeRouterTopk();
    this.preSoftmax = moe.moeRouterPreSoftmax();
    this.balanced = moe.moeRouterLoadBalancingType().equals("aux_loss");
    this.balance = moe.moeAuxLossCoeff();
    this.z = moe.moeZLossCoeff();
    this.weight = parameters.weight("weight", model.initMethodStd(), experts, model.hiddenSize());
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    Tensor logits = RouterProjection.logits(hidden, weight);
    boolean balancing = pass.isTraining() && balanced && balance > 0;
    Tensor probabilities = preSoftmax || balancing ? logits.softmax(1) : null;
    TopK top = TopK.of(preSoftmax ? probabilities : logits, topk);
    Tensor chosen = top.indices();
    Tensor weights = preSoftmax ? top.values() : top.values().softmax(1);
    if (pass.isTraining()) {
      leaveLosses(logits, probabilities, chosen, pass);
    }
    return Routing.ofChoices(chosen, weights, experts);
  }

  private void leaveLosses(Tensor logits, Tensor probabilities, Tensor chosen, Pass pass) {
    if (balanced) {
      Tensor loss = balance > 0 ? balanceLoss(probabilities, chosen) : zero(logits);
      pass.addLoss(new Pass.SideLoss(BALANCE_LOSS, layer, loss, balance));
    }
    if (z != null) {
      Tensor loss = z > 0 ? logits.logsumexp(1).square().mean() : zero(logits);
      pass.addLoss(new Pass.SideLoss(Z_LOSS, layer, loss, z));
    }
  }

  private Tensor balanceLoss(Tensor probabilities, Tensor chosen) {
    double tokens = (double) probabilities.size(0);
    Tensor counts = Routing.counts(chosen.flatten(), experts).to(ScalarType.Float);
    return probabilities
        .sum(0)
        .mul(counts)
        .sum()
        .mul(new Scalar(experts / (topk * tokens * tokens)));
  }

  private static Tensor zero(Tensor like) {
    return Tensors.zeros(ScalarType.Float, like.device());
  }
}
