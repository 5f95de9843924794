package moe4j.plan;

import moe4j.cost.Amount;
import moe4j.cost.Crossing;
import moe4j.cost.Placement;
import moe4j.cost.TokenSpread;

/** Seconds that a rank's collectives take, by what they are for. */
final class CollectiveTime {
  private final PlannedModel model;
  private final PlannedLayout layout;
  private final Placement placement;
  private final Cluster cluster;
  private final ParameterCount count;
  private final double buckets;

  CollectiveTime(PlannedModel model, PlannedLayout layout, Choices choices, Cluster cluster) {
    this.model = model;
    this.layout = layout;
    this.placement = layout.placement(choices);
    this.cluster = cluster;
    this.count = ParameterCount.of(model, layout.tp(), layout.ep(), layout.etp());
    // Without overlap all gradients go in one.
    this.buckets =
        choices.reducesInBackward(layout) ? Math.ceil(count.rank() / Choices.bucket(layout)) : 1;
  }

  /** A micro-batch's tensor parallel collectives. */
  double tensor() {
    return layout.tp() == 1 ? 0 : model.sum(part -> part.traffic().crossings(), this::crossing);
  }

  /**
   * Split matrices' input's gradients are all-reduced, and their outputs; with sequence parallelism
   * a gather and a scatter take an all-reduce's place, and the input is gathered once more for the
   * weights' gradients.
   */
  private double crossing(Crossing crossing) {
    RankSpan group = layout.tensorGroup();
    double bytes = crossing.amount().on(placement, model.bytes());
    boolean gathers = layout.sequenceParallel();
    return switch (crossing.kind()) {
      case INTO_BLOCK -> gathers ? 3 * cluster.gather(group, bytes) : cluster.reduce(group, bytes);
      case OUT_OF_BLOCK ->
          gathers ? 2 * cluster.gather(group, bytes) : cluster.reduce(group, bytes);
      case AROUND_PARTS -> gathers ? 0 : 2 * cluster.gather(group, bytes);
      case LOSS -> cluster.gather(group, bytes * layout.tp());
    };
  }

  /** A step's sum, over the TP group, of whole parameters' gradients that see some tokens each. */
  double wholeParameters() {
    return layout.sequenceParallel() && layout.tp() > 1
        ? cluster.reduce(layout.tensorGroup(), 4.0 * count.whole())
        : 0;
  }

  /** A micro-batch's ways to the experts and back, forward and backward. */
  double exchange() {
    return model.sum(part -> part.traffic().exchanges(), this::exchange);
  }

  /**
   * Four all-to-alls of {@code k T h e (EP - 1) / EP} bytes, the fullest rank's; and as many
   * gathers or reduce-scatters over ranks that share an expert. Where all get all tokens, those
   * alone: of {@code T h e} bytes a rank.
   */
  private double exchange(Amount tokens) {
    double bytes = tokens.on(placement, model.bytes());
    TokenSpread routing = tokens.rows().routing();
    if (routing.gathers()) {
      return 4 * cluster.gather(layout.expertBlock(), bytes * layout.ep() * layout.etp());
    }
    double rows = routing.load(placement) * routing.topk() * bytes;
    double once = 0;
    if (layout.ep() > 1) {
      once += cluster.exchange(layout.expertGroup(), rows);
    }
    if (layout.etp() > 1) {
      once += cluster.gather(layout.expertTensorGroup(), layout.etp() * rows);
    }
    return 4 * once;
  }

  /**
   * A step's reduction of gradients, fp32: of the dense model's over the data parallel ranks, of
   * the experts' over theirs; to the parts of a distributed optimizer, or to all.
   */
  double reduce() {
    return reduce(layout.dataGroup(), count.dense())
        + reduce(layout.expertDataGroup(), count.experts());
  }

  private double reduce(RankSpan group, long parameters) {
    if (group.isAlone() || parameters == 0) {
      return 0;
    }
    double part = 4.0 * parameters / buckets;
    return buckets
        * (layout.distributedOptimizer()
            ? cluster.gather(group, part)
            : cluster.reduce(group, part));
  }

  /** A step's gather of the parameters that a distributed optimizer has updated. */
  double gather() {
    return layout.distributedOptimizer()
        ? gather(layout.dataGroup(), count.dense())
            + gather(layout.expertDataGroup(), count.experts())
        : 0;
  }

  private double gather(RankSpan group, long parameters) {
    return group.isAlone() || parameters == 0
        ? 0
        : buckets * cluster.gather(group, (double) model.bytes() * parameters / buckets);
  }

  /** What a computation of so many seconds does not hide: the last bucket at least. */
  double exposed(double seconds, double beside) {
    return beside == 0 ? seconds : Math.max(seconds - beside, seconds / buckets);
  }
}
