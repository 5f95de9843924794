package moe4j.transformer;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * What random numbers of a layer are for: no two operations of a layer draw the same ones. The
 * numbers are part of every run's reproducibility: add, never change. Layer 0 is the embedding,
 * layer N of the decoder is N + 1.
 *
 * <p>moe4j's own operations have small numbers. A user's own layer gets an operation by a name from
 * {@link #named}; the name gives the same draws on every rank, in every layout and in every run.
 */
public final class Operation {
  /** Numbers below this are moe4j's own. */
  private static final int RESERVED = 1 << 8;

  /** Numbers are below this: {@link moe4j.tensor.StepRandom} keys draws by 16 bits. */
  private static final int LIMIT = 1 << 16;

  private static final Map<Integer, Operation> NAMED = new ConcurrentHashMap<>();

  /** Dropout of the embeddings. */
  public static final Operation EMBEDDING = new Operation("embedding", 0);

  /** Dropout of attention weights. */
  public static final Operation ATTENTION_WEIGHTS = new Operation("attention weights", 1);

  /** Dropout of the attention block's output. */
  public static final Operation ATTENTION_OUTPUT = new Operation("attention output", 2);

  /** Dropout of the feed-forward block's output. */
  public static final Operation FEED_FORWARD_OUTPUT = new Operation("feed-forward output", 3);

  /** Whatever a gate draws. */
  public static final Operation GATE = new Operation("gate", 4);

  /** Noise on what a router sees or on its logits. */
  public static final Operation GATE_NOISE = new Operation("gate noise", 5);

  /** Whether a second expert is taken. */
  public static final Operation SECOND_EXPERT = new Operation("second expert", 6);

  /** Logits that are drawn and not computed. */
  public static final Operation FORCED_BALANCE = new Operation("forced balance", 7);

  /** Dropout between a feed-forward block's two projections. */
  public static final Operation FEED_FORWARD_HIDDEN = new Operation("feed-forward hidden", 8);

  /** Dropout of the vectors of relative positions. */
  public static final Operation POSITIONS = new Operation("positions", 9);

  /** Dropout of the last layer's output. */
  public static final Operation OUTPUT = new Operation("output", 10);

  private final String name;
  private final int id;

  private Operation(String name, int id) {
    this.name = name;
    this.id = id;
  }

  /**
   * An operation of a user's own layer. Its draws follow from the name alone.
   *
   * @param name such as {@code com.example.stochastic depth}: a name that begins with the layer's
   *     package cannot be another library's
   * @throws IllegalArgumentException if the name is blank, or gives the number that another name
   *     has given in this process: of some 65000 numbers that is rare, and another name helps
   */
  public static Operation named(String name) {
    if (name.isBlank()) {
      throw new IllegalArgumentException("an operation needs a name by which its draws are keyed");
    }
    int id = id(name);
    Operation known = NAMED.computeIfAbsent(id, number -> new Operation(name, number));
    if (!known.name.equals(name)) {
      throw new IllegalArgumentException(
          "operation '%s' would draw the same random numbers as '%s': give one of them another name"
              .formatted(name, known.name));
    }
    return known;
  }

  /** A number between those that are reserved and the limit, of the name's hash, mixed. */
  private static int id(String name) {
    // The last step of Murmur's 32-bit hash (Appleby 2008): names that are near are not near any
    // more. String.hashCode is the same in every Java.
    int hash = name.hashCode();
    hash = (hash ^ (hash >>> 16)) * 0x85EBCA6B;
    hash = (hash ^ (hash >>> 13)) * 0xC2B2AE35;
    return RESERVED + Integer.remainderUnsigned(hash ^ (hash >>> 16), LIMIT - RESERVED);
  }

  /** The number that keys the draws. */
  public int id() {
    return id;
  }

  /** What the random numbers are for. */
  @Override
  public String toString() {
    return name;
  }
}
