package moe4j.data;

/**
 * Megatron's mock corpus: 100000 sequences of 1 to 4095 tokens that count 1, 2, 3, ... modulo the
 * vocabulary and end with the end-of-document token. A model learns it within a few steps, and no
 * file is needed. The lengths are those of {@code numpy.random.default_rng(0).integers(1, 4096,
 * 100000)}, so that runs can be compared.
 */
final class MockSequences implements TokenSource {
  private static final int SIZE = 100_000;
  private static final int MAX_LENGTH = 4096;

  private final int[] lengths = new int[SIZE];
  private final int vocabSize;
  private final int eod;

  MockSequences(int vocabSize, int eod) {
    this.vocabSize = vocabSize;
    this.eod = eod;
    Pcg64 random = new Pcg64();
    for (int i = 0; i < SIZE; i++) {
      lengths[i] = 1 + random.below(MAX_LENGTH - 1);
    }
  }

  @Override
  public int sequences() {
    return SIZE;
  }

  @Override
  public int length(int sequence) {
    return lengths[sequence];
  }

  @Override
  public void get(int sequence, int offset, int count, long[] dst, int at) {
    for (int i = 0; i < count; i++) {
      int position = offset + i;
      dst[at + i] = position == lengths[sequence] - 1 ? eod : (position + 1) % vocabSize;
    }
  }

  @Override
  public String where(int sequence) {
    return "mock data, sequence " + sequence;
  }

  /** PCG XSL RR 128/64 (O'Neill, 2014) in the state that NumPy's default_rng(0) begins with. */
  private static final class Pcg64 {
    private static final long MULTIPLIER_HIGH = 0x2360ED051FC65DA4L;
    private static final long MULTIPLIER_LOW = 0x4385DF649FCCF645L;
    private static final long INCREMENT_HIGH = 0x418DDADB3AF71A82L;
    private static final long INCREMENT_LOW = 0x588133BC447873A9L;

    private long high = 0x1AA1B5345996452DL;
    private long low = 0x09585EB7A69561E3L;
    private long buffered;
    private boolean half;

    private long next64() {
      long productHigh =
          unsignedMultiplyHigh(low, MULTIPLIER_LOW) + high * MULTIPLIER_LOW + low * MULTIPLIER_HIGH;
      long productLow = low * MULTIPLIER_LOW;
      low = productLow + INCREMENT_LOW;
      long carry = Long.compareUnsigned(low, productLow) < 0 ? 1 : 0;
      high = productHigh + INCREMENT_HIGH + carry;
      return Long.rotateRight(high ^ low, (int) (high >>> 58));
    }

    private long next32() {
      half = !half;
      if (half) {
        buffered = next64();
        return buffered & 0xffff_ffffL;
      }
      return buffered >>> 32;
    }

    /** Uniform in {@code 0..bound-1} (Lemire, 2019), rejecting what would make it uneven. */
    private int below(int bound) {
      long threshold = (1L << 32) % bound;
      long product;
      do {
        product = next32() * bound;
      } while ((product & 0xffff_ffffL) < threshold);
      return (int) (product >>> 32);
    }

    private static long unsignedMultiplyHigh(long a, long b) {
      return Math.multiplyHigh(a, b) + ((a >> 63) & b) + ((b >> 63) & a);
    }
  }
}
