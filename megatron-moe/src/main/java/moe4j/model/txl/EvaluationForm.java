package moe4j.model.txl;

/**
 * How a Transformer-XL is evaluated: by flags, and where they leave it open, as its run was.
 *
 * @param lengths of segment and memory
 * @param rows columns of the batch
 * @param mostSegments -1 for all
 */
record EvaluationForm(TransformerXlConfig.Lengths lengths, int rows, int mostSegments) {
  /** What stands for all segments. */
  private static final int ALL = -1;

  /** Upstream's columns of an evaluation. */
  private static final int UPSTREAMS_ROWS = 10;

  /**
   * What the flags leave open is as in the evaluations of the run.
   *
   * @param trained the model's shape
   * @param run the run's flags; null where the checkpoint is without them, as those of moe4j 0.1
   *     are: then segments and memory are the training's, and the rest is upstream's default
   */
  static EvaluationForm of(
      TransformerXlEvaluation.Options options, TransformerXlConfig trained, TrainingFlags run) {
    int own = run == null ? trained.tgtLen() : run.evalTgtLen();
    int target = or(options.tgtLen(), own);
    boolean same = options.sameLength() || trained.sameLength();
    int memory = or(options.memLen(), trained.lengths().memoryFor(target));
    if (memory < 1 && trained.memLen() > 0 && options.memLen() == null) {
      throw new IllegalArgumentException(
          "--tgt-len %d leaves no memory of the training's --mem-len %d + --tgt-len %d: --mem-len says how long it is to be"
              .formatted(target, trained.memLen(), trained.tgtLen()));
    }
    if (same && memory == 0) {
      throw new IllegalArgumentException(
          "--mem-len 0: with --same-length every position sees --mem-len others");
    }
    return new EvaluationForm(
        new TransformerXlConfig.Lengths(
            target,
            or(options.extLen(), trained.extLen()),
            memory,
            same,
            or(options.clampLen(), trained.clampLen())),
        or(options.batchSize(), run == null ? UPSTREAMS_ROWS : run.evalBatchSize()),
        or(options.maxEvalSteps(), run == null ? ALL : run.maxEvalSteps()));
  }

  private static int or(Integer typed, int otherwise) {
    return typed == null ? otherwise : typed;
  }
}
