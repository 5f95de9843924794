package moe4j.moe.gate;

import moe4j.kernels.experts.TokenRouter;
import moe4j.kernels.experts.TopK;
import moe4j.moe.gate.RouterConfig.BalanceKind;
import moe4j.moe.gate.RouterConfig.BalanceLoss;
import moe4j.parallel.Group;
import moe4j.tensor.Tensors;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The losses and figures that Megatron's router leaves in training: {@link Balance#switchLoss} of
 * the micro-batch (it depends on how a batch is cut), {@link Balance#sequenceLoss}, the Switch loss
 * of the step so far, the z-loss, and the entropy. The loss of the step so far has this
 * micro-batch's probabilities and the mean load of the step's micro-batches up to this one, those
 * included that data-parallel ranks compute at the same time. Balance losses take the k largest
 * scores, without expert bias and groups, before any capacity.
 */
final class RouterLosses {
  /** Megatron's log key of the z-loss. */
  static final String Z_LOSS = "z_loss";

  private final Gate.Shape shape;
  private final RouterConfig config;
  private final Tensor stepTokens;
  private final Tensor microBatches;
  private final Group data;

  RouterLosses(Gate.Shape shape, RouterConfig config, ParameterScope parameters) {
    this.shape = shape;
    this.config = config;
    this.data = parameters.groups().data();
    boolean global =
        config.balance().stream()
            .anyMatch(b -> b.kind() == BalanceKind.GLOBAL_AUX_LOSS && b.coefficient() > 0);
    this.stepTokens = global ? parameters.scratch(shape.experts()) : null;
    this.microBatches = global ? parameters.scratch() : null;
    if (global) {
      parameters.atStepEnd(
          foundInf -> {
            stepTokens.zero_();
            microBatches.zero_();
          });
    }
  }

  /** Whether the z-loss counts. */
  boolean hasZ() {
    return config.zLoss() != null && config.zLoss() > 0;
  }

  /**
   * Whether no balance loss needs more than the choices of one micro-batch.
   *
   * @param biased whether the choice is by more than the scores, which no balance loss takes
   */
  boolean areOfTheChoice(boolean biased) {
    return biased
        ? !config.hasBalanceLoss()
        : config.balance().stream()
            .allMatch(b -> b.kind() == BalanceKind.AUX_LOSS || b.coefficient() == 0);
  }

  /** Leaves losses and the entropy that were computed with the choice. */
  void leave(TokenRouter.Losses made, Pass pass) {
    for (BalanceLoss balance : config.balance()) {
      Tensor value = balance.coefficient() == 0 ? none(made.entropy()) : made.balance();
      leave(balance.kind().key(), value, balance.coefficient(), pass);
    }
    if (config.zLoss() != null) {
      leave(Z_LOSS, hasZ() ? made.z() : none(made.entropy()), config.zLoss(), pass);
    }
    pass.addFigure(new Pass.Figure(Balance.ENTROPY, shape.layer(), made.entropy()));
  }

  private static Tensor none(Tensor like) {
    return Tensors.zeros(ScalarType.Float, like.device());
  }

  /**
   * A choice of experts.
   *
   * @param experts int64 [T, k], -1 for padding
   * @param tokens int64 [E], how often each was chosen
   */
  record Chosen(Tensor experts, Tensor tokens) {}

  /**
   * Leaves the losses and figures in the pass.
   *
   * @param known the experts of the k largest scores, or null where those are not known yet
   */
  void leave(Tensor logits, Tensor scores, Chosen known, Pass pass) {
    RealTokens real = RealTokens.of(logits.size(0), pass);
    boolean balanced = config.hasBalanceLoss();
    Tensor probabilities =
        config.score().formulas().probabilities(balanced ? logits : logits.detach(), scores);
    Chosen plain = balanced && known == null ? choice(scores, real) : known;
    for (BalanceLoss balance : config.balance()) {
      Tensor value =
          balance.coefficient() == 0
              ? none(logits)
              : switch (balance.kind()) {
                case AUX_LOSS ->
                    Balance.switchLoss(probabilities, plain.tokens(), shape.topk(), real);
                case SEQ_AUX_LOSS ->
                    Balance.sequenceLoss(
                        probabilities, plain.experts(), pass.random().samples(), real);
                case GLOBAL_AUX_LOSS ->
                    Balance.switchLoss(
                        probabilities, ofStep(plain.tokens(), real), shape.topk(), real);
              };
      leave(balance.kind().key(), value, balance.coefficient(), pass);
    }
    if (config.zLoss() != null) {
      Tensor value = hasZ() ? Balance.zLoss(logits, real) : none(logits);
      leave(Z_LOSS, value, config.zLoss(), pass);
    }
    Balance.leaveEntropy(probabilities, shape.layer(), pass);
  }

  private Chosen choice(Tensor scores, RealTokens real) {
    Tensor experts = real.choices(TopK.of(scores.detach(), shape.topk()).indices());
    return new Chosen(experts, Balance.counts(experts, shape.experts()));
  }

  /** The mean of the step's micro-batches up to this one, or, with padding, their shares here. */
  private Tensor ofStep(Tensor tokens, RealTokens real) {
    Tensor all = data.isAlone() ? tokens : tokens.clone();
    data.allReduce(all, Group.Reduction.SUM).await();
    stepTokens.add_(all);
    microBatches.add_(new Scalar(data.size()));
    if (real.all()) {
      return stepTokens.div(microBatches);
    }
    // Micro-batches may have differently many real tokens: each token counts alike.
    Tensor here = real.divisor().mul(new Scalar(shape.topk()));
    return stepTokens.mul(here).div(stepTokens.sum().clamp_min(new Scalar(1)));
  }

  private void leave(String name, Tensor value, double coefficient, Pass pass) {
    pass.addLoss(new Pass.SideLoss(name, shape.layer(), value, coefficient));
  }
}
