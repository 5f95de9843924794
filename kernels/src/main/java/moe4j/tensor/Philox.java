package moe4j.tensor;

import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.stream.LongStream;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Philox4x32-10, the counter-based generator of Salmon et al., "Parallel Random Numbers: As Easy as
 * 1, 2, 3" (SC 2011). A draw is a function of a 64-bit key and a 128-bit counter and of nothing
 * else: so it is the same on a CPU and on a GPU, in any layout, on replay and after resume.
 *
 * <p>The counter is (index / 4, stream): {@code index} is an element's global index, of which four
 * share a block, {@code stream} says what the numbers are for.
 */
public final class Philox {
  private static final int M0 = 0xD2511F53;
  private static final int M1 = 0xCD9E8D57;
  private static final int W0 = 0x9E3779B9;
  private static final int W1 = 0xBB67AE85;
  private static final int ROUNDS = 10;

  /** Elements a worker fills at a time; a multiple of four. */
  private static final long CHUNK = 1 << 16;

  private Philox() {}

  /** Four 32-bit draws for one counter, written into {@code out}. */
  static void block(long key, long low, long high, int[] out) {
    int c0 = (int) low;
    int c1 = (int) (low >>> 32);
    int c2 = (int) high;
    int c3 = (int) (high >>> 32);
    int k0 = (int) key;
    int k1 = (int) (key >>> 32);
    for (int round = 0; round < ROUNDS; round++) {
      long p0 = (M0 & 0xffffffffL) * (c0 & 0xffffffffL);
      long p1 = (M1 & 0xffffffffL) * (c2 & 0xffffffffL);
      c0 = (int) (p1 >>> 32) ^ c1 ^ k0;
      c1 = (int) p1;
      c2 = (int) (p0 >>> 32) ^ c3 ^ k1;
      c3 = (int) p0;
      k0 += W0;
      k1 += W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
  }

  /** A draw as a number in [0, 1) with 24 bits. */
  static float uniform(int draw) {
    return (draw >>> 8) * 0x1p-24f;
  }

  /** A stream's number for a name: 64-bit FNV-1a. */
  public static long stream(String name) {
    long hash = 0xcbf29ce484222325L;
    for (byte b : name.getBytes(StandardCharsets.UTF_8)) {
      hash = (hash ^ (b & 0xff)) * 0x100000001b3L;
    }
    return hash;
  }

  /**
   * Fills a contiguous fp32 host tensor with uniform draws in [0, 1).
   *
   * @param key such as the seed
   * @param stream what the numbers are for
   * @param first the global index of its first element
   */
  public static void uniform(Tensor t, long key, long stream, long first) {
    fill(t, first, t.numel(), t.numel(), uniforms(key, stream));
  }

  /**
   * Fills a contiguous fp32 host tensor with uniform draws in [0, 1) for runs of neighbours that
   * lie apart: element i has the global index {@code first + i / run * stride + i % run}.
   *
   * @param key such as the seed
   * @param stream what the numbers are for
   * @param first the global index of its first element
   * @param run how many elements are neighbours
   * @param stride the distance from a run's first element to the next run's
   */
  public static void uniform(Tensor t, long key, long stream, long first, long run, long stride) {
    // Runs that touch are one: a block of four across two of them is then drawn once.
    fill(t, first, run == stride ? t.numel() : run, stride, uniforms(key, stream));
  }

  private static Block uniforms(long key, long stream) {
    return (index, out) -> {
      block(key, index, stream, out.draws);
      for (int i = 0; i < 4; i++) {
        out.values[i] = uniform(out.draws[i]);
      }
    };
  }

  /**
   * Fills a contiguous fp32 host tensor with normal draws (Box and Muller), mean 0.
   *
   * @param std standard deviation
   * @param key such as the seed
   * @param stream what the numbers are for
   * @param first the global index of its first element
   */
  public static void normal(Tensor t, double std, long key, long stream, long first) {
    fill(
        t,
        first,
        t.numel(),
        t.numel(),
        (index, out) -> {
          block(key, index, stream, out.draws);
          for (int i = 0; i < 4; i += 2) {
            double u = ((out.draws[i] & 0xffffffffL) + 1) * 0x1p-32;
            double angle = 2 * Math.PI * (out.draws[i + 1] & 0xffffffffL) * 0x1p-32;
            double radius = std * Math.sqrt(-2 * Math.log(u));
            out.values[i] = (float) (radius * Math.cos(angle));
            out.values[i + 1] = (float) (radius * Math.sin(angle));
          }
        });
  }

  /**
   * Fills a contiguous int32 host tensor with draws of some bits, of which eight neighbours share a
   * block, and two a word of it: one has the lowest bits of the word, and the next the highest.
   * Element i has the index {@code first + i}, and its block the index over eight.
   *
   * @param bits at least 1 and at most 31; more than 16 are shared in part
   * @param key such as the seed
   * @param stream what the numbers are for
   * @param first the global index of its first element, a multiple of eight
   */
  public static void pairs(Tensor t, int bits, long key, long stream, long first) {
    if (first % 8 != 0) {
      throw new IllegalArgumentException(
          "Pairs of draws begin at a multiple of eight, which %d is not.".formatted(first));
    }
    try (PointerScope scope = new PointerScope()) {
      IntPointer memory = new IntPointer(t.data_ptr());
      long size = t.numel();
      LongStream range = LongStream.range(0, (size + CHUNK - 1) / CHUNK);
      (size > CHUNK ? range.parallel() : range)
          .forEach(
              chunk -> {
                long from = chunk * CHUNK;
                int length = (int) Math.min(CHUNK, size - from);
                int[] draws = new int[4];
                int[] parts = new int[length];
                for (int i = 0; i < length; i += 8) {
                  block(key, (first + from + i) / 8, stream, draws);
                  for (int j = 0; j < Math.min(8, length - i); j++) {
                    int word = draws[j / 2];
                    parts[i + j] = (j & 1) == 0 ? word & ((1 << bits) - 1) : word >>> (32 - bits);
                  }
                }
                try (PointerScope piece = new PointerScope()) {
                  new IntPointer(memory).position(from).put(parts, 0, length);
                }
              });
    }
  }

  private static final class Four {
    final int[] draws = new int[4];
    final float[] values = new float[4];
  }

  private interface Block {
    void draw(long index, Four out);
  }

  /** Fills runs as {@link #uniform(Tensor, long, long, long, long, long)} places them. */
  private static void fill(Tensor t, long first, long run, long stride, Block block) {
    long size = t.numel();
    long chunks = (size + CHUNK - 1) / CHUNK;
    LongStream range = LongStream.range(0, chunks);
    (chunks > 1 ? range.parallel() : range)
        .forEach(
            chunk -> {
              long from = chunk * CHUNK;
              int length = (int) Math.min(CHUNK, size - from);
              FloatBuffer out =
                  Tensors.window(t, from * Float.BYTES, (long) length * Float.BYTES)
                      .asFloatBuffer();
              Four four = new Four();
              for (int i = 0; i < length; ) {
                long at = (from + i) % run;
                int end = (int) Math.min(length, i + run - at);
                long index = first + (from + i) / run * stride + at;
                fill(out, i, end, index, block, four);
                i = end;
              }
            });
  }

  /** Fills {@code out} from {@code begin} to before {@code end} with the draws from an index on. */
  private static void fill(
      FloatBuffer out, int begin, int end, long first, Block block, Four four) {
    long index = Math.floorDiv(first, 4);
    int skip = Math.floorMod(first, 4);
    for (int i = begin; i < end; index++, skip = 0) {
      block.draw(index, four);
      for (int lane = skip; lane < 4 && i < end; lane++, i++) {
        out.put(i, four.values[lane]);
      }
    }
  }
}
