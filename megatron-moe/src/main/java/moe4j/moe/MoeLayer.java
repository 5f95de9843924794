package moe4j.moe;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.cuda.SideStream;
import moe4j.moe.dispatch.Dispatched;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.experts.Experts;
import moe4j.moe.experts.GroupedMlp;
import moe4j.moe.experts.SharedExpert;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Gates;
import moe4j.moe.gate.Routing;
import moe4j.moe.gate.TopKRouter;
import moe4j.parallel.Groups;
import moe4j.transformer.FeedForward;
import moe4j.transformer.LayerShape;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * A mixture of experts in a feed-forward block's place: gate, dispatcher, experts. Several layers
 * may have the same experts, each with a gate of its own (Ma et al., KDD 2018).
 */
public final class MoeLayer implements FeedForward {
  private final int layer;
  private final Gate gate;
  private final TokenDispatcher dispatcher;
  private final Experts experts;
  private final FeedForward shared;
  private final boolean sharedApart;
  private final TokenSlices slices;

  /**
   * Puts a layer together, on one rank.
   *
   * @param layer the layer's global number, under which its load is logged
   */
  public MoeLayer(int layer, Gate gate, TokenDispatcher dispatcher, Experts experts) {
    this(layer, gate, dispatcher, experts, null);
  }

  /**
   * The same with an expert that every token goes to.
   *
   * @param shared computes [..., h] to [..., h], or null
   */
  public MoeLayer(
      int layer, Gate gate, TokenDispatcher dispatcher, Experts experts, FeedForward shared) {
    this(layer, gate, dispatcher, experts, shared, Groups.single());
  }

  /**
   * This rank's part of such a layer.
   *
   * @param groups among which it is divided
   */
  public MoeLayer(
      int layer,
      Gate gate,
      TokenDispatcher dispatcher,
      Experts experts,
      FeedForward shared,
      Groups groups) {
    this(layer, gate, dispatcher, experts, shared, false, groups);
  }

  /**
   * The same.
   *
   * @param sharedApart whether a GPU computes the shared expert on a stream of its own
   */
  private MoeLayer(
      int layer,
      Gate gate,
      TokenDispatcher dispatcher,
      Experts experts,
      FeedForward shared,
      boolean sharedApart,
      Groups groups) {
    this.layer = layer;
    this.gate = gate;
    this.dispatcher = dispatcher;
    this.experts = experts;
    this.shared = shared;
    // Among several ranks it computes while tokens are under way.
    this.sharedApart = sharedApart && groups.world().isAlone();
    this.slices = TokenSlices.of(groups);
  }

  /**
   * A layer for a user's own model. Whatever the builder is not told has its usual value.
   *
   * @param hiddenSize h
   * @param numExperts E, in total
   */
  public static MoeLayerBuilder builder(int hiddenSize, int numExperts) {
    return new MoeLayerBuilder(hiddenSize, numExperts);
  }

  /**
   * The layer that a model's flags ask for, or this rank's part of it.
   *
   * @param layer the layer's global number, from 0
   * @param parameters the layer's scope, {@code decoder.layers.N.mlp}
   * @throws IllegalArgumentException in one sentence where the layer cannot be divided among the
   *     scope's ranks
   */
  public static MoeLayer create(
      LayerShape model, MoeConfig moe, int layer, ParameterScope parameters) {
    Groups groups = parameters.groups();
    TokenDispatcher dispatcher =
        TokenDispatcher.of(
            moe.tokenDispatcher(), moe.moeA2aOverlapDegree(), moe.numExperts(), groups);
    return new MoeLayer(
        layer,
        gate(model, moe, layer, parameters.child("router").partial()),
        dispatcher,
        new GroupedMlp(
            moe.expertShape(model, layer), parameters.child("experts"), moe.groupedProducts()),
        shared(model, moe, layer, parameters),
        moe.moeSharedExpertOverlap(),
        groups);
  }

  private static FeedForward shared(
      LayerShape model, MoeConfig moe, int layer, ParameterScope parameters) {
    return moe.moeSharedExpertIntermediateSize() == null
        ? null
        : new SharedExpert(
            model,
            layer,
            moe.moeSharedExpertIntermediateSize(),
            moe.moeSharedExpertGate(),
            parameters.child("shared_experts"));
  }

  /**
   * The gate that flags ask for.
   *
   * @param layer the layer's global number, from 0
   * @param parameters the gate's scope
   */
  public static Gate gate(LayerShape model, MoeConfig moe, int layer, ParameterScope parameters) {
    Gate.Shape shape =
        new Gate.Shape(
            layer,
            model.hiddenSize(),
            moe.numExperts(),
            moe.moeRouterTopk(),
            model.initMethodStd(),
            moe.balanceLossWeight() / Math.max(1, moe.moeLayerCount(model.layers())));
    return moe.balanceStrategy() == null
        ? new TopKRouter(shape, moe.router(), moe.capacity(), parameters)
        : Gates.create(moe.balanceStrategy(), shape, moe.room(), parameters);
  }

  @Override
  public Tensor forward(Tensor hidden, Pass pass) {
    return forward(hidden, null, pass);
  }

  /**
   * Computes the layer without some tokens: neither the gate nor the experts see them.
   *
   * @param hidden [..., h]; where tensor-parallel ranks share the tokens [B, S, h], S being this
   *     rank's part of them under sequence parallelism
   * @param mask as many values as there are tokens in {@code hidden}, or null
   * @return [..., d], d being h where the experts have it as input and output
   */
  public Tensor forward(Tensor hidden, TokenMask mask, Pass pass) {
    return forward(
            List.of(hidden),
            mask,
            pass,
            (tokens, beside) ->
                List.of(
                    beside == null
                        ? experts.sum(tokens, pass)
                        : experts.sumBeside(tokens, beside, pass)))
        .get(0);
  }

  /**
   * Computes the layer where the experts have several inputs or outputs.
   *
   * @param inputs [..., h] each, h its own; the gate sees the first
   * @param mask as many values as there are tokens, or null
   * @return the experts' outputs, [..., d] each, d its own; a shared expert adds to the first
   */
  public List<Tensor> forward(List<Tensor> inputs, TokenMask mask, Pass pass) {
    return forward(
        inputs,
        mask,
        pass,
        (tokens, beside) -> {
          List<Tensor> sums = new ArrayList<>();
          for (Tensor rows : experts.forwardAll(tokens, pass)) {
            Tensor sum = tokens.sum(rows);
            sums.add(beside == null || !sums.isEmpty() ? sum : sum.add(beside));
          }
          return sums;
        });
  }

  /** What experts compute of a part of the tokens. */
  @FunctionalInterface
  private interface Computation {
    /**
     * The outputs, added up by token.
     *
     * @param beside is added to the first, or null
     */
    List<Tensor> of(Dispatched tokens, Tensor beside);
  }

  private List<Tensor> forward(
      List<Tensor> inputs, TokenMask mask, Pass pass, Computation computation) {
    Tensor hidden = inputs.get(0);
    List<Tensor> own = new ArrayList<>();
    for (Tensor input : inputs) {
      Tensor tokens = slices.own(input);
      if (!own.isEmpty() && tokens.size(0) != own.get(0).size(0)) {
        throw new IllegalArgumentException(
            "all inputs of an MoE layer must have as many tokens: one has %d, the first has %d"
                .formatted(tokens.size(0), own.get(0).size(0)));
      }
      own.add(tokens);
    }
    boolean apart = sharedApart && hidden.is_cuda();
    Tensor begun = apart ? SideStream.get().compute(hidden, () -> ofShared(hidden, pass)) : null;
    Routing routing = route(own.get(0), hidden, mask, pass);
    TokenDispatcher.Dispatch dispatch = dispatcher.dispatch(own, routing);
    if (apart) {
      SideStream.get().join();
    }
    // Where it has not begun before, the shared expert computes while tokens are under way.
    Tensor beside = apart || shared == null ? begun : ofShared(hidden, pass);
    boolean addedThere = dispatch.staysHere() && slices.givesOwn();
    for (int part = 0; part < dispatch.parts(); part++) {
      Tensor more = addedThere ? beside : null;
      dispatch.giveBack(part, computation.of(dispatch.arrive(part), more));
    }
    List<Tensor> outputs = new ArrayList<>();
    for (Tensor rows : dispatch.finish()) {
      Tensor more = addedThere || !outputs.isEmpty() ? null : beside;
      outputs.add(output(rows, more, mask, hidden));
    }
    return outputs;
  }

  private Tensor ofShared(Tensor hidden, Pass pass) {
    return shared.forward(hidden, pass).flatten(0, -2);
  }

  /** This rank's routes; what the layer's experts get of all tokens is left in the pass. */
  private Routing route(Tensor own, Tensor hidden, TokenMask mask, Pass pass) {
    Pass real = mask == null ? pass : pass.padded(leftOut(mask, hidden, pass));
    Tensor leftOut = real.padding();
    Routing routing = slices.route(gate, own, real);
    Tensor unasked = null;
    if (leftOut != null) {
      // A user's gate need not know of padding: the routes of padding are taken out in any case.
      routing = gate.leavesPaddingOut() ? routing : routing.without(leftOut);
      unasked = routing.unasked(real.paddingCount());
    }
    pass.addLoad(new Pass.ExpertLoad(layer, routing.tokensPerExpert(), routing.routed(), unasked));
    return slices.ownRoutes(routing);
  }

  /** Which of all tokens are not routed, those of the mask and the pass's padding: bool [T]. */
  private Tensor leftOut(TokenMask mask, Tensor hidden, Pass pass) {
    Tensor padding = pass.padding();
    long tokens = hidden.numel() / hidden.size(-1);
    if (mask.values().numel() != tokens) {
      throw new IllegalArgumentException(
          "a mask needs a value for each of the %2$d tokens, but has %1$d"
              .formatted(mask.values().numel(), tokens));
    }
    Tensor left = slices.left(mask);
    return padding == null ? left : left.logical_or(padding);
  }

  private Tensor output(Tensor rows, Tensor beside, TokenMask mask, Tensor hidden) {
    Tensor output = slices.output(rows);
    if (beside != null) {
      output = output.add(beside);
    }
    if (mask != null) {
      output = mask.fill(output);
    }
    long[] shape = hidden.shape();
    shape[shape.length - 1] = output.size(1);
    return output.view(shape);
  }
}
