package moe4j.tensor;

import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The key and the place of one micro-batch's random numbers, by which kernels and references draw
 * them (moe4j.kernels.dropout). A draw is a function of the seed, the step, the layer, the
 * operation and the element's global index (its sample's place in the global batch comes first), so
 * it does not depend on how a batch is cut into micro-batches, nor on what was drawn before it, nor
 * on the device; libtorch's generator has no part in a step.
 *
 * <p>A rank may hold only some of the elements: some attention heads of each sample, or some of all
 * samples' tokens. {@link #part(int, int)} and {@link #slice(int, int)} draw for these elements
 * what is drawn for them in the whole.
 *
 * @param seed the run's seed
 * @param step the step, from 0
 * @param firstSample the place in the global batch of the micro-batch's first sample
 * @param samples how many samples the micro-batch has; 0 for draws that all samples of a step
 *     share, whichever of them a rank has
 * @param position int64 [2] on the GPU, the step and the first sample, which kernels read when they
 *     run, in place of {@code step} and {@code firstSample}; null where these count
 * @param part which of the parts that the elements are cut into, from 0
 * @param parts how many parts of the same size there are; 1 is the whole
 * @param sliced whether the elements of all samples together are cut, one sample after the other,
 *     and not those of each sample
 */
public record StepRandom(
    long seed,
    long step,
    long firstSample,
    long samples,
    Tensor position,
    int part,
    int parts,
    boolean sliced) {

  /** Refuses a part that does not exist. */
  public StepRandom {
    if (part < 0 || part >= parts) {
      throw new IllegalArgumentException(
          "There is no part %d of %d: the first part is number 0.".formatted(part, parts));
    }
  }

  /** The random numbers of a micro-batch of whole samples. */
  public StepRandom(long seed, long step, long firstSample, long samples, Tensor position) {
    this(seed, step, firstSample, samples, position, 0, 1, false);
  }

  /** The random numbers of a micro-batch whose place is known to the host. */
  public StepRandom(long seed, long step, long firstSample, long samples) {
    this(seed, step, firstSample, samples, null);
  }

  /**
   * The random numbers of the micro-batch whose place is found on the GPU: a captured graph draws
   * other numbers at each replay.
   *
   * @param position int64 [2] on the GPU, the step and the place of the first sample; it outlives
   *     all draws, and does not change between a forward and its backward
   * @param samples how many samples the micro-batch has
   * @throws IllegalArgumentException where the position is of another kind
   */
  public static StepRandom onDevice(long seed, Tensor position, long samples) {
    if (!position.is_cuda()
        || Tensors.dtype(position) != ScalarType.Long
        || position.numel() != 2) {
      throw new IllegalArgumentException(
          "A position is two int64 on a GPU, and not a tensor of shape %s in %s."
              .formatted(Tensors.shape(position), Tensors.dtype(position)));
    }
    return new StepRandom(seed, 0, 0, samples, position);
  }

  /** The draws for something that the micro-batch's samples share: those of its first sample. */
  public StepRandom shared() {
    return new StepRandom(seed, step, firstSample, 1, position);
  }

  /**
   * The draws for something that all samples of a step share. They are the same in every
   * micro-batch of the step and on every rank, and so those of one process that has all samples.
   */
  public StepRandom common() {
    return new StepRandom(seed, step, firstSample, 0, position);
  }

  /**
   * Draws that are independent of these and of those of every other number. They are for pieces
   * whose places in the whole are not known: each piece gets a number.
   *
   * @param number 0 gives these draws themselves
   */
  public StepRandom branch(int number) {
    // The mixing of Steele et al. (2014) makes distant keys of neighbouring numbers.
    long z = number * 0x9E3779B97F4A7C15L;
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    long key = seed ^ z ^ (z >>> 31);
    return new StepRandom(key, step, firstSample, samples, position, part, parts, sliced);
  }

  /**
   * The draws for a contiguous part of each sample, of {@code count} of one size: where a tensor of
   * {@code [samples, ...]} with L elements a sample is the index-th part of all, local element e of
   * sample s has the global index (firstSample + s) L count + index L + e. So with tensor
   * parallelism (heads) a rank draws what one process would have drawn for its elements. A part of
   * a part is a part of the whole, one of parts() count.
   *
   * @param index from 0
   * @param count how many parts there are; 1 gives these draws themselves
   * @throws IllegalArgumentException if there is no such part
   */
  public StepRandom part(int index, int count) {
    return cut(index, count, false);
  }

  /**
   * The draws for a contiguous part of all samples' elements, of {@code count} of one size: where a
   * tensor has N elements, a sample has L = N count / samples in all, and local element e has the
   * global index firstSample L + index N + e. So with sequence parallelism (tokens) a rank draws
   * what one process would have drawn for its elements.
   *
   * @param index from 0
   * @param count how many parts there are; 1 gives these draws themselves
   * @throws IllegalArgumentException if there is no such part, or this is one of each sample
   */
  public StepRandom slice(int index, int count) {
    return cut(index, count, true);
  }

  private StepRandom cut(int index, int count, boolean slices) {
    if (index < 0 || index >= count) {
      throw new IllegalArgumentException(
          "There is no part %d of %d: the first part is number 0.".formatted(index, count));
    }
    if (count == 1) {
      return this;
    }
    if (parts > 1 && sliced != slices) {
      throw new IllegalArgumentException(
          "Parts of each sample cannot be sliced, nor slices of all samples be cut into parts.");
    }
    return new StepRandom(
        seed,
        step,
        firstSample,
        samples,
        position,
        Math.addExact(Math.multiplyExact(part, count), index),
        Math.multiplyExact(parts, count),
        slices);
  }

  /**
   * The places of a tensor's elements among all elements.
   *
   * @param length how many elements are neighbours: a run
   * @param stride how many elements a sample has in all, which is the distance from a run's first
   *     element to the next run's
   * @param offset the distance from the first sample's first element to this tensor's first
   */
  public record Runs(long length, long stride, long offset) {}

  /**
   * The runs of a tensor's elements.
   *
   * @param like the elements that these draws are for, in order
   * @param layer the layer's global number, below 2^16
   * @param operation which of the layer's draws, below 2^16
   * @throws IllegalArgumentException where the samples do not have equally many of the elements, or
   *     a number is too large
   */
  public Runs runs(Tensor like, int layer, int operation) {
    long size = like.numel();
    if (samples == 0 && parts == 1 && layer >>> 16 == 0 && operation >>> 16 == 0) {
      // Wherever the first sample is, its elements begin at 0.
      return new Runs(size, 0, 0);
    }
    long cut = sliced ? Math.multiplyExact(size, parts) : size;
    if (samples == 0 || cut % samples != 0 || layer >>> 16 != 0 || operation >>> 16 != 0) {
      throw new IllegalArgumentException(
          "Random numbers for %d elements of %d samples cannot be drawn (layer %d, operation %d): every sample has as many elements, and layer and operation are below 65536."
              .formatted(size, samples, layer, operation));
    }
    long each = cut / samples;
    return sliced ? new Runs(size, each, size * part) : new Runs(each, each * parts, each * part);
  }

  /** The position in a GPU's memory, copied there where it is known to the host alone. */
  public Tensor positionOn(Device device) {
    return position != null
        ? position
        : Tensors.of(new long[] {step, firstSample}).to(device, ScalarType.Long);
  }
}
