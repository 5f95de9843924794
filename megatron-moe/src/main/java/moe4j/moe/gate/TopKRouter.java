package moe4j.moe.gate;

import moe4j.kernels.dropout.Draw;
import moe4j.kernels.experts.RouterScore;
import moe4j.kernels.experts.TokenRouter;
import moe4j.kernels.experts.TopK;
import moe4j.parallel.Group;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Megatron's router: a linear layer, scores, the k largest, their weights. All of it in fp32; of
 * equal scores the lowest expert is chosen.
 *
 * <ul>
 *   <li>Scores are the logits, the chosen ones' softmax the weights; or, before the choice, the
 *       softmax over all; or each logit's sigmoid, or the root of its softplus, and then the chosen
 *       ones' divided by their sum are the weights.
 *   <li>The choice may be by scores plus a bias that follows the experts' load (Wang et al. 2024),
 *       which is what a capacity has left them; and among the best of several groups of experts
 *       alone.
 *   <li>Losses are {@link RouterLosses}'.
 * </ul>
 */
public final class TopKRouter implements Gate {
  private final Shape shape;
  private final RouterConfig config;
  private final Capacity capacity;
  private final RouterLinear linear;
  private final RouterLosses losses;
  private final ExpertBias bias;

  /**
   * The router of a layer, with the scope {@code decoder.layers.N.mlp.router}.
   *
   * @param capacity or null where nothing is dropped
   */
  public TopKRouter(
      Shape shape, RouterConfig config, Capacity capacity, ParameterScope parameters) {
    this.shape = shape;
    this.config = config;
    this.capacity = capacity;
    this.linear = new RouterLinear(shape, false, parameters);
    this.losses = new RouterLosses(shape, config, parameters);
    this.bias =
        config.biasUpdateRate() == null
            ? null
            : new ExpertBias(shape.experts(), config.biasUpdateRate(), parameters);
  }

  /** What a router that works so is like. */
  public static GateSpec spec(RouterConfig config) {
    boolean ofItself = config.biasUpdateRate() != null || config.forcedBalance();
    return GateSpec.named("router")
        .described(
            "A token goes to the experts of its k largest scores, weighted as Megatron's router does.")
        .weights(
            config.score() == RouterConfig.Score.LOGITS
                ? GateSpec.Weights.SUM_TO_ONE
                : config.score().formulas().isSeparate()
                    ? GateSpec.Weights.SEVERAL_SUM_TO_ONE
                    : GateSpec.Weights.VARY)
        .balanced(
            config.hasBalanceLoss()
                ? GateSpec.Balanced.BY_LOSS
                : ofItself ? GateSpec.Balanced.BY_ITSELF : GateSpec.Balanced.BY_NOTHING)
        .limit(GateSpec.Limit.IF_ASKED)
        .draws(
            config.forcedBalance()
                ? GateSpec.Draws.SCORES
                : config.jitter() > 0 ? GateSpec.Draws.INPUT : GateSpec.Draws.NOTHING)
        .parameters(GateSpec.Parameters.MATRIX);
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
    Routing routing =
        isOneChoice() ? routeAtOnce(hidden, pass) : routeInSteps(logits(hidden, pass), pass);
    if (bias != null && pass.isTraining()) {
      bias.count(routing.tokensPerExpert());
    }
    return routing;
  }

  /** Whether tokens choose among all experts, no choice is dropped, and losses are of that. */
  private boolean isOneChoice() {
    return capacity == null && config.groups().count() == 1 && losses.areOfTheChoice(bias != null);
  }

  private Tensor logits(Tensor hidden, Pass pass) {
    Tensor logits = linear.logits(jittered(hidden, pass), pass);
    return config.forcedBalance() && pass.isTraining() ? drawn(logits, pass) : logits;
  }

  /** Choice, weights, order and losses by kernels for all of it. */
  private Routing routeAtOnce(Tensor hidden, Pass pass) {
    boolean training = pass.isTraining();
    TokenRouter.Form form =
        new TokenRouter.Form(
            score(), shape.topk(), config.scaling(), training, training && losses.hasZ());
    Tensor values = bias == null ? null : bias.values();
    boolean asItIs = !training || (config.jitter() == 0 && !config.forcedBalance());
    TokenRouter made =
        asItIs ? linear.route(hidden, form, values, pass) : route(hidden, form, values, pass);
    if (training) {
      losses.leave(made.losses(), pass);
    }
    return Routing.of(made);
  }

  /** By logits that are not those of the tokens as they are. */
  private TokenRouter route(Tensor hidden, TokenRouter.Form form, Tensor values, Pass pass) {
    Tensor logits = logits(hidden, pass);
    return TokenRouter.of(logits, form, RealTokens.of(logits.size(0), pass).beside(values));
  }

  private Routing routeInSteps(Tensor logits, Pass pass) {
    RealTokens real = RealTokens.of(logits.size(0), pass);
    Tensor scores = score().of(logits);
    Tensor searched = bias == null ? scores.detach() : scores.detach().add(bias.values());
    if (config.groups().count() > 1) {
      searched = inBestGroups(searched);
    }
    boolean plain = bias == null && config.groups().count() == 1;
    TopK top = TopK.of(plain ? scores : searched, shape.topk());
    Tensor chosen = real.choices(top.indices());
    Tensor weights =
        score().weights(plain ? top.values() : scores.gather(1, top.indices()), config.scaling());
    Routing routing =
        capacity == null
            ? Routing.ofChoices(chosen, weights, shape.experts())
            : capacity.route(chosen, weights, shape.experts(), real);
    if (pass.isTraining()) {
      losses.leave(logits, scores, plain ? asked(chosen, routing) : null, pass);
    }
    return routing;
  }

  private RouterScore score() {
    return config.score().formulas();
  }

  private RouterLosses.Chosen asked(Tensor chosen, Routing routing) {
    Tensor tokens =
        capacity == null ? routing.tokensPerExpert() : Balance.counts(chosen, shape.experts());
    return new RouterLosses.Chosen(chosen, tokens);
  }

  private Tensor jittered(Tensor hidden, Pass pass) {
    double epsilon = config.jitter();
    if (epsilon == 0 || !pass.isTraining()) {
      return hidden;
    }
    Tensor draws =
        Draw.uniform(
            pass.sliceRandom(), hidden.detach(), shape.layer() + 1, Operation.GATE_NOISE.id());
    Tensor factors = draws.mul_(new Scalar(2 * epsilon)).add_(new Scalar(1 - epsilon));
    // In fp32: rounded to bf16, the input would tell other experts to be the best.
    return hidden.to(ScalarType.Float).mul(factors);
  }

  /** Logits drawn from N(0, 1), through which the gradient goes as if they were the router's. */
  private Tensor drawn(Tensor logits, Pass pass) {
    Tensor own = logits.detach();
    Tensor draws =
        Draw.normal(pass.random(), own, shape.layer() + 1, Operation.FORCED_BALANCE.id());
    return logits.add(draws.sub_(own));
  }

  /** -inf outside the best groups; a group is as good as the sum of its best experts. */
  private Tensor inBestGroups(Tensor scores) {
    long tokens = scores.size(0);
    int count = config.groups().count();
    int taken = config.groups().topk();
    long each = shape.experts() / count;
    Tensor grouped = scores.reshape(tokens * count, each);
    Tensor best = TopK.of(grouped, shape.topk() / taken).values();
    Tensor values = best.sum(1).view(tokens, count);
    Tensor groups = TopK.of(values, taken).indices();
    Tensor inside = torch.zeros_like(values).scatter(1, groups, new Scalar(1));
    Tensor outside = inside.eq(new Scalar(0)).unsqueeze(2);
    return scores
        .view(tokens, count, each)
        .masked_fill(outside, new Scalar(Double.NEGATIVE_INFINITY))
        .view(tokens, shape.experts());
  }

  /** A bias of each expert for the choice alone, which follows the load from step to step. */
  private static final class ExpertBias {
    private final double rate;
    private final Tensor bias;
    private final Tensor load;
    private final Group data;

    ExpertBias(int experts, double rate, ParameterScope parameters) {
      this.rate = rate;
      this.bias = parameters.buffer("expert_bias", experts);
      this.load = parameters.scratch(experts);
      this.data = parameters.groups().data();
      parameters.atStepEnd(this::update);
    }

    Tensor values() {
      return bias;
    }

    void count(Tensor tokens) {
      load.add_(tokens);
    }

    /**
     * {@code bias += rate sign(mean(load) - load)}, of all ranks' load, unless the step was
     * skipped.
     */
    private void update(Tensor foundInf) {
      // Ranks that have other sequences have counted others, and all are to choose alike.
      data.allReduce(load, Group.Reduction.SUM).await();
      Tensor change = load.mean().sub(load).sign().mul_(new Scalar(rate));
      bias.add_(torch.where(foundInf.gt(new Scalar(0)), torch.zeros_like(change), change));
      load.zero_();
    }
  }
}
