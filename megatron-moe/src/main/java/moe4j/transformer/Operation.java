package moe4j.transformer;

/**
 * What random numbers of a layer are for. The numbers are part of every run's reproducibility: add,
 * never change. Layer 0 is the embedding, layer N of the decoder is N + 1.
 */
public enum Operation {
  /** Dropout of the embeddings. */
  EMBEDDING(0),
  /** Dropout of attention weights. */
  ATTENTION_WEIGHTS(1),
  /** Dropout of the attention block's output. */
  ATTENTION_OUTPUT(2),
  /** Dropout of the feed-forward block's output. */
  FEED_FORWARD_OUTPUT(3),
  /** Whatever a gate draws. */
  GATE(4),
  /** Noise on what a router sees or on its logits. */
  GATE_NOISE(5),
  /** Whether a second expert is taken. */
  SECOND_EXPERT(6),
  /** Logits that are drawn and not computed. */
  FORCED_BALANCE(7),
  /** Dropout between a feed-forward block's two projections. */
  FEED_FORWARD_HIDDEN(8),
  /** Dropout of what stands for relative positions. */
  POSITIONS(9),
  /** Dropout of the last layer's output. */
  OUTPUT(10);

  private final int id;

  Operation(int id) {
    this.id = id;
  }

  /** The number that keys the draws. */
  public int id() {
    return id;
  }
}
