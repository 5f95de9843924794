package moe4j.kernels.dropout;

import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Inverted dropout (Srivastava et al. 2014): zeroes each element with probability {@code p} and
 * divides the rest by 1 - p. Nothing is kept for the backward but the key of the draws.
 *
 * @param random where the draws come from; null where p is 0
 * @param p in [0, 1)
 * @param layer the layer's global number, below 2^16
 * @param operation which of the layer's draws, below 2^16
 */
public record Dropout(StepRandom random, double p, int layer, int operation) {
  /** No dropout. */
  public static final Dropout NONE = new Dropout(null, 0, 0, 0);

  static final String SOURCE = "dropout/dropout.cu";

  /** Refuses a probability outside of [0, 1), and one above 0 without draws. */
  public Dropout {
    if (!(p >= 0 && p < 1) || (p > 0 && random == null)) {
      throw new IllegalArgumentException(
          "Dropout needs a probability in [0, 1), and above 0 the draws' key; here p is %s and the key %s."
              .formatted(p, random));
    }
  }

  /** Whether nothing is dropped. */
  public boolean isNone() {
    return p == 0;
  }

  /**
   * Zeroes the elements that are dropped, and scales the others.
   *
   * @param x any shape; its elements are those that {@code random} is for, in order
   * @return in the same type; x itself where p is 0
   */
  public Tensor apply(Tensor x) {
    if (isNone()) {
      return x;
    }
    if (Kernels.take(x)) {
      return new Kernel(this).apply(x)[0];
    }
    return x.mul(factors(x));
  }

  /**
   * What {@link #apply} multiplies by: 0 or 1 / (1 - p), by the draws for {@code like}'s elements
   * and in its type.
   */
  public Tensor factors(Tensor like) {
    Tensor keep = Draw.uniform(random, like, layer, operation).ge(new Scalar(p));
    return keep.to(Tensors.dtype(like)).mul_(new Scalar(1 / (1 - p)));
  }

  /**
   * The draws for a tensor's elements, as kernels take them.
   *
   * @param position int64 [2] on the GPU, or null where nothing is drawn
   * @param run as of {@link StepRandom.Runs}, like the rest
   */
  public record Draws(Tensor position, long run, long stride, long offset) {
    /** Whether the tensor has all elements of its samples. */
    private boolean whole() {
      return run == stride && offset == 0;
    }

    /**
     * Whether eight neighbours, the first's place in the tensor a multiple of eight, always have
     * two blocks of four draws, one after the other. Whole samples of a multiple of four elements
     * do; eight elements around the ends of two runs would not be neighbours among all.
     */
    public boolean inBlocks() {
      return whole() ? run % 4 == 0 : run % 8 == 0 && stride % 4 == 0 && offset % 4 == 0;
    }

    /** The define for our sources, which have a shorter way for whole samples. */
    public String define() {
      return "PART=" + (whole() ? 0 : 1);
    }

    /** The same draws with another handle of their position. */
    public Draws at(Tensor held) {
      return new Draws(held, run, stride, offset);
    }
  }

  /** The draws for {@code like}'s elements. */
  public Draws draws(Tensor like) {
    if (random == null) {
      return new Draws(null, 0, 0, 0);
    }
    StepRandom.Runs runs = random.runs(like, layer, operation);
    return new Draws(random.positionOn(like.device()), runs.length(), runs.stride(), runs.offset());
  }

  /** The key of the draws. */
  public long seed() {
    return random == null ? 0 : random.seed();
  }

  /** The factor of elements that are kept, 1 / (1 - p). */
  public float scale() {
    return (float) (1 / (1 - p));
  }

  static long blocks(Tensor t) {
    return (t.numel() + 8 * 256 - 1) / (8 * 256);
  }

  private static final class Kernel extends CustomFunction {
    private final Dropout drop;
    private Draws draws;

    Kernel(Dropout drop) {
      this.drop = drop;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      Draws fresh = drop.draws(inputs[0]);
      draws = fresh.at(save(fresh.position));
      return new Tensor[] {launch(inputs[0].contiguous())};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {launch(gradients[0])};
    }

    private Tensor launch(Tensor x) {
      Tensor y = Launch.empty(x);
      boolean aligned = draws.inBlocks() && Launch.aligned(x, y);
      Launch.kernel(
              SOURCE, "dropout", Tensors.dtype(x), "ALIGNED=" + (aligned ? 1 : 0), draws.define())
          .launch(
              blocks(x),
              256,
              0,
              x,
              y,
              x.numel(),
              drop.seed(),
              draws.position,
              draws.run,
              draws.stride,
              draws.offset,
              drop.layer,
              drop.operation,
              (float) drop.p,
              drop.scale());
      return y;
    }
  }
}
