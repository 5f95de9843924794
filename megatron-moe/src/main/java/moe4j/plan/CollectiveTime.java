package moe4j.plan;

import moe4j.model.gpt.GptConfig;

/** Seconds that a rank's collectives take, by what they are for. */
final class CollectiveTime {
  private final ModelShape model;
  private final GptConfig config;
  private final PlannedLayout layout;
  private final Cluster cluster;
  private final ParameterCount count;
  private final double load;
  private final double buckets;

  CollectiveTime(ModelShape model, PlannedLayout layout, Choices choices, Cluster cluster) {
    this.model = model;
    this.config = model.config();
    this.layout = layout;
    this.cluster = cluster;
    this.count = ParameterCount.of(model, layout.tp(), layout.ep(), layout.etp());
    this.load = model.load(layout.ep(), choices.imbalance());
    // Without overlap all gradients go in one.
    this.buckets =
        choices.reducesInBackward(layout) ? Math.ceil(count.rank() / Choices.bucket(layout)) : 1;
  }

  /**
   * Bytes of a micro-batch's hidden states, {@code T h e}: what a tensor parallel group passes on.
   */
  double hidden() {
    return (double) layout.microBatch() * config.seqLength() * config.hiddenSize() * model.bytes();
  }

  /**
   * A micro-batch's tensor parallel collectives. A block that is split (attention, a dense
   * feed-forward block, a shared expert) all-reduces its output forward and its input's gradient
   * backward; with sequence parallelism it gathers and scatters each way, and gathers its input
   * once more for the weights' gradients. So do the embedding (no input's gradient) and the output
   * layer (no output); the loss gathers two numbers a token.
   */
  double tensor() {
    if (layout.tp() == 1) {
      return 0;
    }
    int blocks =
        config.numLayers()
            + model.denseLayers()
            + (model.sharedHidden() > 0 ? model.moeLayers() : 0);
    RankSpan group = layout.tensorGroup();
    double tokens = (double) layout.microBatch() * config.seqLength();
    double loss = cluster.gather(group, 8 * tokens * layout.tp());
    return layout.sequenceParallel()
        ? (5 * blocks + 5) * cluster.gather(group, hidden()) + loss
        : (2 * blocks + 2) * cluster.reduce(group, hidden())
            // Experts get a part of the tokens from each rank, whose outputs and gradients unite.
            + 2 * model.moeLayers() * cluster.gather(group, hidden())
            + loss;
  }

  /** A step's sum, over the TP group, of whole parameters' gradients that see some tokens each. */
  double wholeParameters() {
    return layout.sequenceParallel() && layout.tp() > 1
        ? cluster.reduce(layout.tensorGroup(), 4.0 * count.whole())
        : 0;
  }

  /** Bytes of the rows that a rank's tokens are to experts, {@code k T h e}: one way. */
  double routed() {
    return (double) model.topk() * layout.routedTokens(model) * config.hiddenSize() * model.bytes();
  }

  /**
   * A micro-batch's ways to the experts and back, forward and backward: four all-to-alls of {@code
   * k T h e (EP - 1) / EP} bytes a layer, the fullest rank's; and as many gathers or
   * reduce-scatters over ranks that share an expert. Where all get all tokens, those alone: of
   * {@code T h e} bytes a rank.
   */
  double exchange() {
    if (model.gathersTokens()) {
      double all = routed() / Math.max(1, model.topk()) * layout.ep() * layout.etp();
      return 4 * model.moeLayers() * cluster.gather(layout.expertBlock(), all);
    }
    double once = 0;
    if (layout.ep() > 1) {
      once += cluster.exchange(layout.expertGroup(), load * routed());
    }
    if (layout.etp() > 1) {
      once += cluster.gather(layout.expertTensorGroup(), load * layout.etp() * routed());
    }
    return 4 * model.moeLayers() * once;
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
