package moe4j.cost;

/**
 * Rows of a matrix: how many there are for each sample and each micro-batch, and which of them one
 * rank has.
 *
 * @param kind which of the rows one rank has
 * @param ofSample rows for each sequence
 * @param ofBatch rows for each micro-batch, however many sequences it has
 * @param routing how tokens are spread over experts; null for rows that do not go to experts
 */
public record Rows(Kind kind, double ofSample, double ofBatch, TokenSpread routing) {

  /** Which of the rows one rank has. */
  public enum Kind {
    /** All rows of the micro-batch: within blocks whose matrices are shared. */
    TOKENS,
    /** All rows, or with sequence parallelism a TP-th of them: between such blocks. */
    STREAM,
    /** The rows that a rank routes: each tensor-parallel rank routes a TP-th. */
    ROUTED,
    /** The routed rows, once for each expert that a row goes to. */
    CHOSEN,
    /** The rows that the fullest rank's experts compute. */
    COMPUTED,
    /** The rows that memory is taken for: those computed or, if all tokens are gathered, all. */
    HELD,
    /** The rows computed, if they come from other ranks; otherwise none. */
    ARRIVING,
    /** The rows on their way to other ranks; none if a rank has all experts. */
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

  /** Rows that a micro-batch has once, however many samples it has. */
  public static Rows once(double ofBatch) {
    return new Rows(Kind.TOKENS, 0, ofBatch, null);
  }

  /** Tokens on their way through experts. */
  public static Rows routed(Kind kind, double ofSample, TokenSpread routing) {
    return new Rows(kind, ofSample, 0, routing);
  }

  /** How many rows one rank has. */
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
