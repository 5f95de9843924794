package moe4j.cost;

/**
 * Rows of a matrix: how many there are of a sample and of a micro-batch, and which ranks have them.
 *
 * @param kind which of them a rank has
 * @param ofSample rows of each sequence
 * @param ofBatch rows of each micro-batch, however many sequences it has
 * @param routing how they are spread over experts; null where experts have nothing to do with them
 */
public record Rows(Kind kind, double ofSample, double ofBatch, TokenSpread routing) {

  /** Which rows a rank has. */
  public enum Kind {
    /** All of the micro-batch: within blocks whose matrices are shared. */
    TOKENS,
    /** Those between such blocks, of which sequence parallelism leaves each rank a part. */
    STREAM,
    /** Those that a rank routes: tensor-parallel ranks route a part each. */
    ROUTED,
    /** Those once for each expert that they go to. */
    CHOSEN,
    /** Those that the fullest rank's experts compute. */
    COMPUTED,
    /** Those that memory is taken for: as computed or, where all tokens are gathered, all. */
    HELD,
    /** Those computed, where they come from other ranks; else none. */
    ARRIVING,
    /** Those on their way to other ranks; none where a rank has all experts. */
    UNDERWAY
  }

  /** All tokens of a micro-batch. */
  public static Rows tokens(double ofSample) {
    return new Rows(Kind.TOKENS, ofSample, 0, null);
  }

  /** Tokens between the blocks whose matrices are shared. */
  public static Rows stream(double ofSample) {
    return new Rows(Kind.STREAM, ofSample, 0, null);
  }

  /** Rows that a micro-batch has once. */
  public static Rows once(double ofBatch) {
    return new Rows(Kind.TOKENS, 0, ofBatch, null);
  }

  /** Tokens on their way through experts. */
  public static Rows routed(Kind kind, double ofSample, TokenSpread routing) {
    return new Rows(kind, ofSample, 0, routing);
  }

  /** Rows of one rank. */
  public double on(Placement placement) {
    double all = placement.samples() * ofSample + placement.batches() * ofBatch;
    double part = all / placement.tensor();
    int ranks = placement.expertRanks();
    return switch (kind) {
      case TOKENS -> all;
      case STREAM -> placement.sequenceParallel() ? part : all;
      case ROUTED -> part;
      case CHOSEN -> part * routing.topk();
      case COMPUTED -> computed(part, placement);
      case HELD -> routing.gathers() ? part * routing.topk() * ranks : computed(part, placement);
      case ARRIVING -> ranks > 1 ? computed(part, placement) : 0;
      case UNDERWAY -> ranks > 1 ? part * (routing.gathers() ? ranks : routing.topk()) : 0;
    };
  }

  private double computed(double part, Placement placement) {
    return part * routing.topk() * placement.expertTensor() * routing.load(placement);
  }
}
