package moe4j.moe.gate;

import moe4j.kernels.experts.RouteSort;
import moe4j.kernels.experts.RowGather;
import moe4j.kernels.experts.TokenRouter;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Which token goes to which expert: R routes, grouped by expert. R is known beforehand: T k where
 * tokens choose, E times the capacity where experts do or are padded to it. A route whose token is
 * -1 is not used, nor is one behind the last offset: its row of the experts' input is zero, and
 * nobody reads its output.
 *
 * @param token int64 [R], the row of the hidden state that a route takes, or -1
 * @param weight [R], what the expert's output counts in the token's; carries the gate's gradient
 * @param offsets int32 [E], where each expert's routes end
 * @param slot int64 [T, k], where token t's j-th route stands among the R, -1 where it was dropped;
 *     null where a token has any number of routes
 * @param tokensPerExpert int64 [E], tokens that an expert really computes
 * @param tokens T
 * @param capacity the rows of each expert where all have equally many; 0 where only the device
 *     knows
 * @param source the tokens once more, for experts that make a gradient for them which nothing else
 *     holds: the router then adds its own to that gradient's memory ({@link TokenRouter#source}).
 *     Null where the gate made no second handle; the tokens themselves may be taken in any case
 */
public record Routing(
    Tensor token,
    Tensor weight,
    Tensor offsets,
    Tensor slot,
    Tensor tokensPerExpert,
    long tokens,
    long capacity,
    TokenRouter.Source source) {

  private static final Scalar NONE = Scopes.keep(() -> new Scalar(-1));
  private static final Scalar ZERO = Scopes.keep(() -> new Scalar(0));

  /**
   * Groups the routes of tokens that have each chosen k experts, within an expert in the tokens'
   * order.
   *
   * @param expert int64 [T, k], each in [0, E), or -1 where the choice was dropped
   * @param weight [T, k]
   * @param experts E
   */
  public static Routing ofChoices(Tensor expert, Tensor weight, int experts) {
    RouteSort sorted = RouteSort.of(expert, experts);
    return new Routing(
        sorted.token(),
        ordered(weight, sorted.order(), sorted.slot()),
        sorted.offsets(),
        sorted.slot(),
        sizes(sorted.offsets()),
        expert.size(0),
        0);
  }

  /** Routes of a gate that hands no tokens on: {@link #source} is null. */
  public Routing(
      Tensor token,
      Tensor weight,
      Tensor offsets,
      Tensor slot,
      Tensor tokensPerExpert,
      long tokens,
      long capacity) {
    this(token, weight, offsets, slot, tokensPerExpert, tokens, capacity, null);
  }

  /** The routes that a router has made. */
  static Routing of(TokenRouter made) {
    return new Routing(
        made.token(),
        made.weight(),
        made.offsets(),
        made.slot(),
        made.counts(),
        made.slot().size(0),
        0,
        made.source());
  }

  /**
   * The same with equally many rows for each expert: what they lack is filled with unused routes,
   * and of what is too much the first tokens' choices are kept. So the host knows the size of each
   * expert's input.
   *
   * @param capacity rows of each expert
   */
  public static Routing padded(Tensor expert, Tensor weight, int experts, long capacity) {
    RouteSort sorted = RouteSort.of(expert, experts);
    long rows = experts * capacity;
    Tensor rank = rank(expert, sorted);
    Tensor dropped = sorted.slot().lt(ZERO).logical_or(rank.ge(new Scalar(capacity)));
    // Dropped choices all go to one place more, which is then left out.
    Tensor place =
        expert.mul(new Scalar(capacity)).add_(rank).masked_fill(dropped, new Scalar(rows));
    Tensor order = torch.full(new long[] {rows + 1}, NONE, place.options());
    Tensor choices = torch.arange(new Scalar(place.numel()), place.options());
    order = order.scatter_(0, place.flatten(), choices).narrow(0, 0, rows);
    Tensor slot = place.masked_fill(dropped, NONE);
    return new Routing(
        order.floor_divide(new Scalar(expert.size(1))),
        ordered(weight, order, slot),
        ends(experts, capacity, expert),
        slot,
        sizes(sorted.offsets()).clamp_max(new Scalar(capacity)),
        expert.size(0),
        capacity);
  }

  /**
   * The routes of experts that have each chosen C tokens.
   *
   * @param token int64 [E, C], each in [0, T), or -1 for a route that is not used
   * @param weight [E, C]
   * @param tokens T
   */
  public static Routing ofExpertChoices(Tensor token, Tensor weight, long tokens) {
    long experts = token.size(0);
    long capacity = token.size(1);
    return new Routing(
        token.flatten(),
        weight.flatten(),
        ends(experts, capacity, token),
        null,
        token.ge(ZERO).sum(1),
        tokens,
        capacity);
  }

  /**
   * Rows that are there already, in another order: each is a token with one route.
   *
   * @param weight [R], of the rows as they are
   * @param order int64 [R], which row each route takes
   * @param place int64 [R], which route takes each row
   * @param ends int64 [E], where each expert's routes end
   * @param capacity the rows of each expert, or 0
   */
  public static Routing ofOrder(
      Tensor weight, Tensor order, Tensor place, Tensor ends, long capacity) {
    Tensor slot = place.view(-1, 1);
    return new Routing(
        order,
        ordered(weight, order, slot),
        ends.to(ScalarType.Int),
        slot,
        differences(ends),
        order.numel(),
        capacity);
  }

  /**
   * The same of rows that have come in chunks of one size, [peers, sources, E, C], within an expert
   * in the order of the sources and then of the peers.
   */
  public static Routing ofChunks(
      Tensor weight, long peers, long sources, long experts, long capacity) {
    Tensor like = Tensors.empty(ScalarType.Long, weight.device(), 0);
    Scalar rows = new Scalar(peers * sources * experts * capacity);
    Tensor numbers = torch.arange(rows, like.options());
    Tensor order = numbers.view(peers, sources, experts, capacity).permute(2, 1, 0, 3);
    Tensor place = numbers.view(experts, sources, peers, capacity).permute(2, 1, 0, 3);
    long each = peers * sources * capacity;
    return ofOrder(
        weight,
        order.flatten(),
        place.flatten(),
        ends(experts, each, like).to(ScalarType.Long),
        each);
  }

  /**
   * The same without the routes of some tokens.
   *
   * @param left bool [T], true for the tokens that are left out
   */
  public Routing without(Tensor left) {
    Tensor gone = token.lt(ZERO).logical_or(left.index_select(0, token.clamp_min(ZERO)));
    Tensor kept = token.masked_fill(gone, NONE);
    Tensor keptSlot = slot == null ? null : slot.masked_fill(left.unsqueeze(1), NONE);
    Tensor before = gone.logical_not().to(ScalarType.Long).cumsum(0);
    return new Routing(
        kept, weight.masked_fill(gone, ZERO), offsets, keptSlot, reached(before), tokens, capacity);
  }

  /**
   * How many of {@link #routed} are of tokens that are left out, which do not ask for experts: an
   * int64 scalar.
   *
   * @param left how many tokens these are, an int64 scalar
   */
  public Tensor unasked(Tensor left) {
    return slot == null
        ? tokensPerExpert.sum().neg().add(new Scalar(routed()))
        : left.mul(new Scalar(slot.size(1)));
  }

  /** Rows of each expert, unused routes among them: int64 [E]. */
  public Tensor sizes() {
    return sizes(offsets);
  }

  /** E. */
  public int experts() {
    return Math.toIntExact(offsets.numel());
  }

  /** What each token has chosen: int64 [T, k], -1 where that was dropped. */
  public Tensor choices() {
    return choices(slot);
  }

  private Tensor choices(Tensor slots) {
    Tensor ends = offsets.to(ScalarType.Long);
    return torch.bucketize(slots, ends, false, true).masked_fill(slots.lt(ZERO), NONE);
  }

  /** What the choices count in their tokens, 0 for dropped ones: [T, k]. */
  public Tensor choiceWeights() {
    return choiceWeights(slot);
  }

  private Tensor choiceWeights(Tensor slots) {
    long rows = weight.numel();
    Tensor flat = slots.flatten();
    Tensor numbers = torch.arange(new Scalar(flat.numel()), flat.options());
    // Dropped choices all go to one place more, which is then left out.
    Tensor place = flat.masked_fill(flat.lt(ZERO), new Scalar(rows));
    Tensor order = torch.full(new long[] {rows + 1}, NONE, flat.options());
    order = order.scatter_(0, place, numbers).narrow(0, 0, rows).contiguous();
    return RowGather.spread(weight.view(-1, 1), flat, order.view(-1, 1)).view(slots.shape());
  }

  /**
   * The routes of a part of the tokens alone, which are then numbered by themselves: the index-th
   * of equal parts. Routes of tokens that have chosen go into fewer rows; where experts have
   * chosen, the other tokens' routes are not used.
   *
   * @param index which part
   * @param count of how many
   */
  public Routing part(int index, int count) {
    long own = tokens / count;
    if (slot == null) {
      Tensor number = token.sub(new Scalar(index * own));
      // The token of an unused route, -1, is below all of them.
      Tensor gone = number.lt(ZERO).logical_or(number.ge(new Scalar(own)));
      Tensor kept = gone.logical_not().to(ScalarType.Long).cumsum(0);
      return new Routing(
          number.masked_fill(gone, NONE),
          weight.masked_fill(gone, ZERO),
          offsets,
          null,
          reached(kept),
          own,
          capacity);
    }
    Tensor slots = slot.narrow(0, index * own, own);
    return capacity > 0
        ? padded(choices(slots), choiceWeights(slots), experts(), Math.min(capacity, own))
        : ofChoices(choices(slots), choiceWeights(slots), experts());
  }

  /** What each expert has of what has been counted up to each route, [R]. */
  private Tensor reached(Tensor counted) {
    Tensor zero = Tensors.zeros(ScalarType.Long, counted.device(), 1);
    return differences(torch.cat(new TensorVector(zero, counted), 0).index_select(0, offsets));
  }

  /** Routes that were asked for, more than were taken where some were dropped. */
  public long routed() {
    return slot == null ? token.numel() : slot.numel();
  }

  /** The weights of the choices in the routes' order, 0 for dropped ones. */
  private static Tensor ordered(Tensor weight, Tensor order, Tensor slot) {
    return RowGather.spread(weight.reshape(-1, 1), order, slot.reshape(-1, 1)).view(-1);
  }

  /**
   * Which of its expert's choices, in the tokens' order, each choice is.
   *
   * @param expert int64 [T, k], each in [0, E), or -1
   * @param experts E
   * @return int64 [T, k], from 0; negative for -1
   */
  public static Tensor rank(Tensor expert, int experts) {
    return rank(expert, RouteSort.of(expert, experts));
  }

  private static Tensor rank(Tensor expert, RouteSort sorted) {
    Tensor starts = sorted.offsets().to(ScalarType.Long).sub(sizes(sorted.offsets()));
    Tensor start = starts.index_select(0, expert.flatten().clamp_min(ZERO));
    return sorted.slot().sub(start.view(expert.shape()));
  }

  private static Tensor ends(long experts, long capacity, Tensor like) {
    Tensor numbers = torch.arange(new Scalar(experts), like.options()).add_(new Scalar(1));
    return numbers.mul_(new Scalar(capacity)).to(ScalarType.Int);
  }

  private static Tensor sizes(Tensor offsets) {
    return differences(offsets.to(ScalarType.Long));
  }

  private static Tensor differences(Tensor ends) {
    Tensor starts = ends.roll(1);
    starts.select(0, 0).zero_();
    return ends.sub(starts);
  }
}
