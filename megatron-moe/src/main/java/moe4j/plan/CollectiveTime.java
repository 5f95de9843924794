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
    // Without overlap all gradients are one bucket.
    this.buckets =
        choices.reducesInBackward(layout) ? Math.ceil(count.rank() / Choices.bucket(layout)) : 1;
  }

  /** Seconds of a micro-batch's tensor-parallel collectives. */
  double tensor() {
    return layout.tp() == 1 ? 0 : model.sum(part -> part.traffic().crossings(), this::crossing);
  }

  /**
   * Around matrices that are split, the outputs and the input's gradients are all-reduced. With
   * sequence parallelism a gather and a scatter take the place of each all-reduce, and the input is
   * gathered once more for the weights' gradients.
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

  /**
   * Seconds, once a step, of summing gradients over the TP group: with sequence parallelism each
   * rank has the gradients of whole parameters from its own tokens only.
   */
  double wholeParameters() {
    return layout.sequenceParallel() && layout.tp() > 1
        ? cluster.reduce(layout.tensorGroup(), 4.0 * count.whole())
        : 0;
  }

  /** Seconds of a micro-batch's rows to the experts and back, forward and backward. */
  double exchange() {
    return model.sum(part -> part.traffic().exchanges(), this::exchange);
  }

  /**
   * Four all-to-alls of {@code k T h e (EP - 1) / EP} bytes, those of the fullest rank, and as many
   * gathers or reduce-scatters over the ranks that share an expert. If all ranks get all tokens,
   * there are only four gathers or reduce-scatters, of {@code T h e} bytes a rank.
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
   * Seconds of a step's reduction of fp32 gradients: the dense model's over the data-parallel
   * ranks, the experts' over their copies; scattered with a distributed optimizer, otherwise to all
   * ranks.
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

  /** Seconds of a step's gather of the parameters that a distributed optimizer has updated. */
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

  /**
   * The part of a reduction that a computation beside it does not hide: at least the last bucket.
   *
   * @param seconds of the reduction
   * @param beside seconds of the computation; 0 where nothing is computed meanwhile
   */
  double exposed(double seconds, double beside) {
    return beside == 0 ? seconds : Math.max(seconds - beside, seconds / buckets);
  }
}
