package moe4j.kernels.optimizer;

import moe4j.tensor.Philox;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A moment of AdamW's as it is kept, and its way to fp32 and back in libtorch's operations, with
 * the bits of moments.cuh.
 *
 * <p>An 8-bit float is a piece of an fp32's bits. A first moment's has a sign, 4 bits of exponent
 * and 3 of mantissa; a second moment's, which is never negative, has no sign and 5 bits of
 * exponent. The numbers of a block are divided by a power of two, the next one below the largest of
 * them, so that nothing is rounded twice: a moment that is read and written again, without a step,
 * keeps its bits, whatever is drawn. What is kept of a second moment is not zero where its block
 * has another number, as the update divides by its root; the smallest first moment over the
 * smallest second one's root is an update no larger than AdamW makes anyway.
 */
public final class Moment implements AutoCloseable {
  /** Neighbours that share a scale. */
  public static final int BLOCK = 256;

  /** What the draws are for, as in moments.cuh. */
  private static final long DRAWS = 1L << 48;

  /** What makes a first moment's code a piece of an fp32's bits, and a second one's. */
  private static final double FIRST_SHIFT = 0x1p112;

  private static final double SECOND_SHIFT = 0x1p96;

  /**
   * Where a moment's random numbers come from: a draw is that of the key, the step and the
   * element's index, and the same for both moments.
   *
   * @param key of the seed and the parameter
   * @param first the index of the first element, a multiple of eight
   */
  public record Keyed(long key, long first) {}

  private final MomentType type;
  private final boolean square;
  private final Tensor values;
  private final Tensor scales;

  /**
   * A moment that is zero.
   *
   * @param square whether it is the second, a mean of squares
   * @param like of its shape and on its device
   */
  public Moment(MomentType type, boolean square, Tensor like) {
    this.type = type;
    this.square = square;
    this.values = Scopes.keep(() -> Tensors.zeros(type.stored(), like.device(), like.shape()));
    long blocks = (like.numel() + BLOCK - 1) / BLOCK;
    this.scales =
        type == MomentType.FP8
            ? Scopes.keep(() -> Tensors.zeros(ScalarType.Float, like.device(), blocks))
            : null;
  }

  /** How it is kept. */
  public MomentType type() {
    return type;
  }

  /** What is kept: numbers, or codes. */
  Tensor values() {
    return values;
  }

  /** The scales of its blocks: fp32; null where it has none. */
  Tensor scales() {
    return scales;
  }

  /** The moment in fp32: what is kept itself, where that is fp32. */
  public Tensor read() {
    return type == MomentType.FP32 ? values : read(0, values.numel()).view(values.shape());
  }

  /** The elements {@code from} to before {@code to} in fp32: flat. */
  public Tensor read(long from, long to) {
    if (type != MomentType.FP8) {
      return values.view(-1).narrow(0, from, to - from).to(ScalarType.Float);
    }
    long start = from / BLOCK * BLOCK;
    Tensor codes = values.view(-1).narrow(0, start, to - start).to(ScalarType.Int);
    Tensor bits =
        square
            ? codes.bitwise_left_shift(new Scalar(20))
            : codes
                .bitwise_and(new Scalar(0x7f))
                .bitwise_left_shift_(new Scalar(20))
                .bitwise_or_(
                    codes.bitwise_and(new Scalar(0x80)).bitwise_left_shift_(new Scalar(24)));
    Tensor own = scales.narrow(0, start / BLOCK, (to + BLOCK - 1) / BLOCK - start / BLOCK);
    Tensor each = own.view(-1, 1).expand(own.numel(), BLOCK).reshape(-1);
    return bits.view(ScalarType.Float)
        .mul_(new Scalar(square ? SECOND_SHIFT : FIRST_SHIFT))
        .mul_(each.narrow(0, 0, to - start))
        .narrow(0, from - start, to - from);
  }

  /** Keeps what an update has made of it in a step, from 1. */
  public void write(Tensor moment, Keyed keyed, long step) {
    if (type == MomentType.FP32) {
      write(moment, (Tensor) null);
      return;
    }
    Tensor draws = Tensors.emptyHost(ScalarType.Int, false, moment.numel());
    Philox.pairs(draws, cut(), keyed.key, (step & 0xffffffffL) | DRAWS, keyed.first);
    write(moment, draws.to(moment.device(), ScalarType.Int));
  }

  /** Keeps the nearest that can be kept: a moment that comes from elsewhere. */
  public void write(Tensor moment) {
    // One for all elements: as many draws as elements would take as much memory as the moment.
    write(moment, Tensors.full(1 << (cut() - 1), ScalarType.Int, moment.device(), 1));
  }

  /** How many bits are cut off. */
  private int cut() {
    return type == MomentType.FP8 ? 20 : 16;
  }

  /** Adds the draws, one for each element or one for all, to what is cut off. */
  private void write(Tensor moment, Tensor draws) {
    try (NoGradGuard guard = new NoGradGuard()) {
      Tensor flat = moment.detach().contiguous().view(-1);
      switch (type) {
        case FP32 -> {
          if (moment.data_ptr().address() != values.data_ptr().address()) {
            values.view(-1).copy_(flat);
          }
        }
        case BF16 -> {
          Tensor bits = flat.view(ScalarType.Int).add(draws);
          values.view(-1).view(ScalarType.Short).copy_(bits.bitwise_right_shift_(new Scalar(16)));
        }
        case FP8 -> writeBlocks(flat, draws);
      }
    }
  }

  private void writeBlocks(Tensor flat, Tensor draws) {
    long size = flat.numel();
    long blocks = scales.numel();
    Tensor magnitude = Tensors.zeros(ScalarType.Float, flat.device(), blocks * BLOCK);
    magnitude.narrow(0, 0, size).copy_(flat).abs_();
    Tensor largest = magnitude.view(blocks, BLOCK).amax(new long[] {1}, true);
    Tensor exponent =
        largest
            .view(ScalarType.Int)
            .bitwise_right_shift(new Scalar(23))
            .clamp(optional(1), optional(254));
    Tensor inverse =
        torch.where(
            exponent.eq(new Scalar(254)),
            Tensors.full(0x00400000, ScalarType.Int, flat.device()),
            exponent.neg().add_(new Scalar(254)).bitwise_left_shift_(new Scalar(23)));
    Tensor bits =
        magnitude
            .view(blocks, BLOCK)
            .mul(inverse.view(ScalarType.Float))
            .mul_(new Scalar(1 / (square ? SECOND_SHIFT : FIRST_SHIFT)))
            .view(ScalarType.Int)
            .view(-1)
            .narrow(0, 0, size)
            .add(draws)
            .bitwise_right_shift_(new Scalar(20));
    Tensor codes =
        square
            ? bits.clamp_(optional(1), optional(255))
            : bits.clamp_(optional(0), optional(127))
                .bitwise_or_(
                    flat.view(ScalarType.Int)
                        .bitwise_right_shift(new Scalar(24))
                        .bitwise_and_(new Scalar(0x80)));
    Tensor some = largest.ne(new Scalar(0));
    Tensor each = some.expand(blocks, BLOCK).reshape(-1).narrow(0, 0, size);
    values.view(-1).copy_(codes.mul_(each));
    Tensor power = exponent.bitwise_left_shift(new Scalar(23)).view(ScalarType.Float);
    scales.copy_(power.mul(some).view(-1));
  }

  private static ScalarOptional optional(int bound) {
    return new ScalarOptional(new Scalar(bound));
  }

  @Override
  public void close() {
    values.close();
    if (scales != null) {
      scales.close();
    }
  }
}
