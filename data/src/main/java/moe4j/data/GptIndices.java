package moe4j.data;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.OptionalLong;
import java.util.function.IntUnaryOperator;

/**
 * Megatron's three GPT indices, which cut a shuffled corpus into samples. The sequences of {@link
 * #documentIndex}, one after the other, are one long text; sample {@code j} of it begins where
 * {@code sampleIndex[2j]} (a place in the document index) and {@code sampleIndex[2j+1]} (a token
 * offset there) say, and takes {@code S + 1} tokens, of which the last is the next one's first; the
 * {@code k}-th sample to train on is {@code shuffleIndex[k]}.
 *
 * <p>The arrays are held in memory, so each may have up to 2^31 - 1 entries. Megatron's wider types
 * begin just there.
 */
public final class GptIndices {
  private static final String DOCUMENT_INDEX = "document_index.npy";
  private static final String SAMPLE_INDEX = "sample_index.npy";
  private static final String SHUFFLE_INDEX = "shuffle_index.npy";
  private static final double SEPARATE_BELOW = 0.80;

  /**
   * What the indices depend on, beside the sequences' lengths.
   *
   * @param range the sequences to draw from
   * @param samples how many samples are wanted at least; empty for what one epoch gives
   * @param seqLength tokens a sample, S
   * @param seed {@code --seed}
   * @param dropLastPartial whether a last sample that is too short is left out; Megatron always
   *     does
   */
  public record Request(
      Split.Range range, OptionalLong samples, int seqLength, long seed, boolean dropLastPartial) {}

  private final int[] documentIndex;
  private final int[] sampleIndex;
  private final int[] shuffleIndex;
  private final Plan plan;

  private GptIndices(Plan plan, int[] documentIndex, int[] sampleIndex, int[] shuffleIndex) {
    this.plan = plan;
    this.documentIndex = documentIndex;
    this.sampleIndex = sampleIndex;
    this.shuffleIndex = shuffleIndex;
  }

  /**
   * Builds the indices.
   *
   * @param lengths a sequence's tokens
   * @throws IllegalArgumentException if the range holds no token, or an index would be too long
   */
  public static GptIndices build(IntUnaryOperator lengths, Request request) {
    Plan plan = Plan.of(lengths, request);
    NumpyRandom random = new NumpyRandom(request.seed);
    int[] documents = plan.documents(random);
    int[] samples = plan.samples(lengths, documents);
    return new GptIndices(plan, documents, samples, plan.shuffle(random));
  }

  /** Reads the indices from the cache's files, or builds them as {@link #build} does. */
  static GptIndices cached(IntUnaryOperator lengths, Request request, IndexCache cache) {
    return cache.get(
        () -> load(lengths, Plan.of(lengths, request), cache),
        () -> build(lengths, request),
        GptIndices::arrays);
  }

  private Map<String, Npy.NpyArray> arrays() {
    Map<String, Npy.NpyArray> arrays = new LinkedHashMap<>();
    arrays.put(DOCUMENT_INDEX, new Npy.NpyArray(Npy.Type.I32, documentIndex, plan.entries));
    arrays.put(SAMPLE_INDEX, new Npy.NpyArray(Npy.Type.I32, sampleIndex, plan.samples + 1, 2));
    arrays.put(SHUFFLE_INDEX, new Npy.NpyArray(Npy.Type.U32, shuffleIndex, plan.samples));
    return arrays;
  }

  /**
   * Reads what {@link #build} would give, and believes none of it: a damaged index would train on
   * wrong text without a word. What is saved is the shuffles, which take most of the time.
   */
  private static GptIndices load(IntUnaryOperator lengths, Plan plan, IndexCache cache)
      throws IOException {
    Path documentPath = cache.path(DOCUMENT_INDEX);
    int[] documents = (int[]) Npy.read(documentPath, Npy.Type.I32, plan.entries);
    checkPermutation(documentPath, documents, plan.request.range, plan.epochs);
    Path samplePath = cache.path(SAMPLE_INDEX);
    int[] samples = (int[]) Npy.read(samplePath, Npy.Type.I32, plan.samples + 1, 2);
    if (!Arrays.equals(samples, plan.samples(lengths, documents))) {
      throw new IOException(samplePath + " does not follow from the document index");
    }
    Path shufflePath = cache.path(SHUFFLE_INDEX);
    int[] shuffle = (int[]) Npy.read(shufflePath, Npy.Type.U32, plan.samples);
    checkPermutation(shufflePath, shuffle, new Split.Range(0, plan.samples), 1);
    return new GptIndices(plan, documents, samples, shuffle);
  }

  private static void checkPermutation(Path path, int[] index, Split.Range range, int times)
      throws IOException {
    int[] seen = new int[range.size()];
    for (int value : index) {
      if (value < range.from() || value >= range.to() || seen[value - range.from()]++ == times) {
        throw new IOException(
            "%s does not hold each of %d to %d %d times"
                .formatted(path, range.from(), range.to() - 1, times));
      }
    }
  }

  /** The sequences in the order they are read, one entry a sequence and epoch. */
  public int[] documentIndex() {
    return documentIndex;
  }

  /** Pairs of a place in the document index and an offset; one pair more than there are samples. */
  public int[] sampleIndex() {
    return sampleIndex;
  }

  /** A permutation of the samples. */
  public int[] shuffleIndex() {
    return shuffleIndex;
  }

  /** How many samples there are; at least as many as asked for. */
  public int size() {
    return shuffleIndex.length;
  }

  /** How often the sequences are repeated. */
  public int epochs() {
    return plan.epochs;
  }

  /** Whether the last epoch, of which little is needed, is shuffled by itself. */
  public boolean separateFinalEpoch() {
    return plan.separate;
  }

  /**
   * How often sequences are repeated, and whether the last time is shuffled by itself: with the
   * same of both, samples come in the same order however many are asked for.
   */
  record Order(int epochs, boolean separateFinalEpoch) {}

  /** The order of a request's samples, without building them. */
  static Order order(IntUnaryOperator lengths, Request request) {
    Plan plan = Plan.of(lengths, request);
    return new Order(plan.epochs, plan.separate);
  }

  /** The sizes of things, known before anything is built. */
  record Plan(
      Request request, int epochs, boolean separate, int sansFinalEpoch, int samples, int entries) {

    static Plan of(IntUnaryOperator lengths, Request request) {
      Split.Range range = request.range;
      long perEpoch = 0;
      for (int s = range.from(); s < range.to(); s++) {
        perEpoch += lengths.applyAsInt(s);
      }
      if (perEpoch == 0) {
        throw new IllegalArgumentException(
            "%d sequences, from number %d on, hold no tokens to draw samples from"
                .formatted(range.size(), range.from()));
      }
      int seqLength = request.seqLength;
      long epochs = 1;
      if (request.samples.isPresent()) {
        // A sample's labels end one token later than its tokens.
        long wanted =
            Math.addExact(Math.multiplyExact(request.samples.getAsLong(), (long) seqLength), 1L);
        epochs = Math.max(1, (wanted + perEpoch - 1) / perEpoch);
      }
      long all = epochs * perEpoch - 1;
      // Single precision is Megatron's.
      long samples =
          request.dropLastPartial
              ? all / seqLength
              : (long) Math.ceil((float) all / (float) seqLength);
      long entries = epochs * range.size();
      if (Math.max(entries, 2 * (samples + 1)) > Integer.MAX_VALUE - 8) {
        throw new IllegalArgumentException(
            "%d samples of %d tokens from %d sequences with %d tokens need an index of %d entries, but 2147483639 are possible"
                .formatted(
                    samples,
                    seqLength,
                    range.size(),
                    perEpoch,
                    Math.max(entries, 2 * (samples + 1))));
      }
      long sans = ((epochs - 1) * perEpoch - 1) / seqLength;
      long samplesPerEpoch = (perEpoch - 1) / seqLength;
      boolean separate =
          epochs > 1
              && request.samples.orElseThrow() - sans < (int) (SEPARATE_BELOW * samplesPerEpoch);
      return new Plan(
          request, (int) epochs, separate, separate ? (int) sans : 0, (int) samples, (int) entries);
    }

    int[] documents(NumpyRandom random) {
      int[] documents = new int[entries];
      int size = request.range.size();
      for (int i = 0; i < entries; i++) {
        documents[i] = request.range.from() + i % size;
      }
      int last = separate ? entries - size : entries;
      random.shuffle(documents, 0, last);
      random.shuffle(documents, last, entries);
      return documents;
    }

    int[] samples(IntUnaryOperator lengths, int[] documents) {
      int[] index = new int[2 * (samples + 1)];
      int place = 0;
      int offset = 0;
      for (int sample = 1; sample <= samples; sample++) {
        int missing = request.seqLength + 1;
        while (missing > 0) {
          int length = lengths.applyAsInt(documents[place]);
          int here = length - offset;
          if (missing <= here) {
            offset += missing - 1;
            missing = 0;
          } else if (place == entries - 1) {
            // Only a partial last sample comes here: it ends with the text.
            offset = length - 1;
            missing = 0;
          } else {
            missing -= here;
            place++;
            offset = 0;
          }
        }
        index[2 * sample] = place;
        index[2 * sample + 1] = offset;
      }
      return index;
    }

    int[] shuffle(NumpyRandom random) {
      int[] shuffle = new int[samples];
      for (int i = 0; i < samples; i++) {
        shuffle[i] = i;
      }
      random.shuffle(shuffle, 0, separate ? sansFinalEpoch : samples);
      random.shuffle(shuffle, separate ? sansFinalEpoch : samples, samples);
      return shuffle;
    }
  }
}
