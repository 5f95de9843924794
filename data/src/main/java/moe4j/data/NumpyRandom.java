package moe4j.data;

/**
 * NumPy's legacy {@code RandomState}: MT19937 (Matsumoto and Nishimura, 1998) seeded by one 32-bit
 * number, and the shuffle that draws by masked rejection. Megatron's data order rests on it.
 */
public final class NumpyRandom {
  private static final int N = 624;
  private static final int M = 397;

  private final int[] key = new int[N];
  private int next = N;

  /**
   * @param seed 0 to 2^32 - 1, as NumPy takes it
   */
  public NumpyRandom(long seed) {
    if (seed < 0 || seed > 0xffff_ffffL) {
      throw new IllegalArgumentException("--seed must be in 0 to 4294967295, but is " + seed);
    }
    int s = (int) seed;
    for (int i = 0; i < N; i++) {
      key[i] = s;
      s = 1812433253 * (s ^ (s >>> 30)) + i + 1;
    }
  }

  /** The next 32 random bits. */
  public int next32() {
    if (next == N) {
      generate();
    }
    int y = key[next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return y ^ (y >>> 18);
  }

  private void generate() {
    for (int i = 0; i < N; i++) {
      int y = (key[i] & 0x8000_0000) | (key[(i + 1) % N] & 0x7fff_ffff);
      key[i] = key[(i + M) % N] ^ (y >>> 1) ^ (-(y & 1) & 0x9908b0df);
    }
    next = 0;
  }

  /** Uniform in {@code 0..max}, {@code max >= 0}; takes two draws a try where 32 bits are short. */
  long interval(long max) {
    if (max == 0) {
      return 0;
    }
    long mask = -1L >>> Long.numberOfLeadingZeros(max);
    long value;
    do {
      value =
          max <= 0xffff_ffffL
              ? next32() & mask
              : ((long) next32() << 32 | (next32() & 0xffff_ffffL)) & mask;
    } while (value > max);
    return value;
  }

  /** Shuffles the whole array, as {@code RandomState.shuffle}. */
  public void shuffle(int[] array) {
    shuffle(array, 0, array.length);
  }

  /** Shuffles {@code array[from..to)} as an array of its own. */
  void shuffle(int[] array, int from, int to) {
    for (int i = to - from - 1; i > 0; i--) {
      int j = from + (int) interval(i);
      int swapped = array[from + i];
      array[from + i] = array[j];
      array[j] = swapped;
    }
  }

  /** Shuffles the whole array, as {@code RandomState.shuffle}. */
  public void shuffle(long[] array) {
    for (int i = array.length - 1; i > 0; i--) {
      int j = (int) interval(i);
      long swapped = array[i];
      array[i] = array[j];
      array[j] = swapped;
    }
  }
}
