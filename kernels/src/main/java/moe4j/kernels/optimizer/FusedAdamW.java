package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.tensor.Scopes;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * AdamW (Loshchilov and Hutter 2019) over many tensors on a GPU, a step in three launches: partial
 * sums of the gradients' norm, the step's scalars, the update. It reads and writes everything once,
 * asks the device nothing and sums in a fixed order; {@link #step} can be captured. Its reference
 * is {@link TensorLists}.
 *
 * <p>Tables on the device tell the kernels what they work on: they hold the addresses of the slots'
 * tensors and of their gradients. The caller keeps all of those alive for as long as steps are
 * taken, or captured ones replayed.
 */
public final class FusedAdamW implements AutoCloseable {
  /** Elements a block works on, as in adamw.cu. */
  private static final int CHUNK = 32_768;

  private static final int THREADS = 512;
  private static final int FINALISE_THREADS = 1024;

  /** 64-bit words of a slot in the table: as in adamw.cu. */
  private static final int WORDS = 8;

  private static final int GRADIENT = 4;
  private static final int TYPES = 6;

  /** A slot's types: what is bf16 and not fp32. */
  private static final long PARAMETER_BF16 = 1;

  private static final long MASTER_BF16 = 2;
  private static final long MOMENTS_BF16 = 4;
  private static final long GRADIENT_BF16 = 8;

  /**
   * A tensor and its state, all contiguous and of one size.
   *
   * @param parameter what the model computes with, fp32 or bf16: a step writes the rounded master
   *     there
   * @param master fp32, or bf16 beside a bf16 parameter; the parameter itself where there is no
   *     other
   * @param expAvg the first moment, fp32 or bf16
   * @param expAvgSq the second moment, of the same type
   * @param weightDecay decoupled: in units of the learning rate
   */
  public record Slot(
      Tensor parameter, Tensor master, Tensor expAvg, Tensor expAvgSq, double weightDecay) {}

  private final double beta1;
  private final double beta2;
  private final double epsilon;
  private final double clipGrad;
  private final long[] sizes;
  private final long[] table;
  private final int chunks;

  /** By slot, the chunks up to its end. */
  private final int[] chunkEnds;

  private final Tensor deviceTable;
  private final Tensor deviceChunks;
  private final Tensor partials;
  private final Tensor scalars;
  private boolean bound;
  private boolean zeroAfter;

  /**
   * The optimizer of some tensors of one GPU.
   *
   * @param clipGrad what the gradients' norm is clipped to; 0 clips nothing
   * @throws IllegalArgumentException naming the slot whose tensors do not fit each other
   */
  public FusedAdamW(List<Slot> slots, double beta1, double beta2, double epsilon, double clipGrad) {
    if (slots.isEmpty()) {
      throw new IllegalArgumentException("AdamW needs at least one tensor.");
    }
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
    this.clipGrad = clipGrad;
    this.sizes = new long[slots.size()];
    this.chunkEnds = new int[slots.size()];
    this.table = new long[slots.size() * WORDS];
    List<Long> parts = new ArrayList<>();
    for (int i = 0; i < sizes.length; i++) {
      fill(i, slots.get(i));
      for (long chunk = 0; chunk * CHUNK < sizes[i]; chunk++) {
        parts.add((long) i << 32 | chunk);
      }
      chunkEnds[i] = parts.size();
    }
    this.chunks = parts.size();
    Device device = slots.get(0).parameter().device();
    long[] packed = parts.stream().mapToLong(Long::longValue).toArray();
    this.deviceTable = Scopes.keep(() -> Tensors.of(table).to(device, ScalarType.Long));
    this.deviceChunks = Scopes.keep(() -> Tensors.of(packed).to(device, ScalarType.Long));
    this.partials = Scopes.keep(() -> Tensors.zeros(ScalarType.Float, device, chunks));
    this.scalars = Scopes.keep(() -> Tensors.zeros(ScalarType.Float, device, 8));
  }

  private void fill(int index, Slot slot) {
    boolean parameter = isBf16(index, "parameter", slot.parameter());
    boolean master = isBf16(index, "master", slot.master());
    boolean moments = isBf16(index, "first moment", slot.expAvg());
    sizes[index] = slot.parameter().numel();
    for (Tensor t : List.of(slot.master(), slot.expAvg(), slot.expAvgSq())) {
      requireSize(index, t);
    }
    if (moments != isBf16(index, "second moment", slot.expAvgSq())) {
      throw new IllegalArgumentException(
          "slot " + index + ": its two moments are of different types");
    }
    if (master && !parameter) {
      throw new IllegalArgumentException(
          "slot " + index + ": an fp32 parameter cannot have a bf16 master");
    }
    int at = index * WORDS;
    table[at] = address(slot.parameter());
    table[at + 1] = address(slot.master());
    table[at + 2] = address(slot.expAvg());
    table[at + 3] = address(slot.expAvgSq());
    table[at + 5] = sizes[index];
    table[at + TYPES] =
        (parameter ? PARAMETER_BF16 : 0)
            | (master ? MASTER_BF16 : 0)
            | (moments ? MOMENTS_BF16 : 0);
    table[at + 7] = Double.doubleToRawLongBits(slot.weightDecay());
  }

  /**
   * Says where the gradients are, on the stream of the steps, before one and never while one is
   * captured; they may be other tensors at each step.
   *
   * @param gradients one for each slot, in their order: contiguous, fp32 or bf16; null is zeros
   * @param zeroAfter whether steps leave zeros in the gradients, skipped ones too
   */
  public void bind(List<Tensor> gradients, boolean zeroAfter) {
    if (gradients.size() != sizes.length) {
      throw new IllegalArgumentException(
          "AdamW was given "
              + gradients.size()
              + " gradients for "
              + sizes.length
              + " slots: each needs one, or null.");
    }
    long[] before = table.clone();
    for (int i = 0; i < sizes.length; i++) {
      Tensor gradient = gradients.get(i);
      int at = i * WORDS;
      table[at + GRADIENT] = 0;
      table[at + TYPES] &= ~GRADIENT_BF16;
      if (gradient != null) {
        requireSize(i, gradient);
        table[at + TYPES] |= isBf16(i, "gradient", gradient) ? GRADIENT_BF16 : 0;
        table[at + GRADIENT] = address(gradient);
      }
    }
    this.zeroAfter = zeroAfter;
    if (!bound || !Arrays.equals(before, table)) {
      Scopes.run(() -> deviceTable.copy_(Tensors.of(table)));
    }
    bound = true;
  }

  /**
   * Takes a step: {@code m += (1 - beta1) (g - m)}, {@code v += (1 - beta2) (g^2 - v)}, {@code p -=
   * rate weightDecay p}, {@code p -= rate m' / (sqrt(v') + epsilon)}, with m' and v' the moments
   * over {@code 1 - beta^step}, and g the gradients over {@code max(1, (norm + 1e-6) / clipGrad)}.
   * Where the norm is not finite it changes nothing but {@code norm} and {@code foundInf}.
   *
   * @param rates fp32 [2]: the learning rate if the last step was taken, and if it was skipped
   * @param step fp32, a scalar: the steps taken, counted on
   * @param norm fp32, a scalar, written: the L2 norm of all gradients
   * @param foundInf fp32, a scalar: 1 where the last step was skipped, and then where this one was
   */
  public void step(Tensor rates, Tensor step, Tensor norm, Tensor foundInf) {
    sumChunks(chunks);
    finish(partials, chunks, rates, step, norm, foundInf);
  }

  /**
   * The sum of squares of the gradients of the first slots: fp64, a scalar. Where ranks have parts
   * of a model and copies, the slots that this one counts come first, and the sum over the ranks
   * goes to {@link #step(Tensor, Tensor, Tensor, Tensor, Tensor)}.
   */
  public Tensor squares(int slots) {
    int count = slots == 0 ? 0 : chunkEnds[slots - 1];
    if (count > 0) {
      sumChunks(count);
    }
    return partials.narrow(0, 0, count).to(ScalarType.Double).sum();
  }

  /**
   * {@link #step(Tensor, Tensor, Tensor, Tensor)} by a norm that others have a part in.
   *
   * @param squares fp32, one element: the sum of squares of all gradients
   */
  public void step(Tensor squares, Tensor rates, Tensor step, Tensor norm, Tensor foundInf) {
    finish(squares, 1, rates, step, norm, foundInf);
  }

  /** Each of the first chunks' sum of squares. */
  private void sumChunks(int count) {
    if (!bound) {
      throw new IllegalStateException(
          "AdamW takes no step before bind has said where the gradients are.");
    }
    CudaKernel.of("optimizer/adamw.cu", "norm_partials")
        .launch(count, THREADS, 0, deviceTable, deviceChunks, partials);
  }

  private void finish(
      Tensor squares, int count, Tensor rates, Tensor step, Tensor norm, Tensor foundInf) {
    // A double goes as its bits.
    CudaKernel.of("optimizer/adamw.cu", "finalise")
        .launch(
            1,
            FINALISE_THREADS,
            0,
            squares,
            count,
            Double.doubleToRawLongBits(beta1),
            Double.doubleToRawLongBits(beta2),
            Double.doubleToRawLongBits(epsilon),
            Double.doubleToRawLongBits(clipGrad),
            rates,
            step,
            norm,
            foundInf,
            scalars);
    CudaKernel.of("optimizer/adamw.cu", "update_all")
        .launch(chunks, THREADS, 0, deviceTable, deviceChunks, scalars, zeroAfter ? 1 : 0);
  }

  private static long address(Tensor t) {
    long[] address = new long[1];
    if (t.numel() > 0) {
      Scopes.run(() -> address[0] = t.data_ptr().address());
    }
    return address[0];
  }

  private void requireSize(int index, Tensor t) {
    if (t.numel() != sizes[index]) {
      throw new IllegalArgumentException(
          "slot %d: its parameter has %d elements, and another of its tensors %d"
              .formatted(index, sizes[index], t.numel()));
    }
  }

  private static boolean isBf16(int index, String what, Tensor t) {
    ScalarType dtype = Tensors.dtype(t);
    boolean bf16 = dtype == ScalarType.BFloat16;
    if (!t.is_cuda() || !t.is_contiguous() || !(bf16 || dtype == ScalarType.Float)) {
      throw new IllegalArgumentException(
          "slot %d: a %s has to be contiguous fp32 or bf16 on a GPU, which one of type %s and shape %s is not"
              .formatted(index, what, dtype, Tensors.shape(t)));
    }
    return bf16;
  }

  @Override
  public void close() {
    for (Tensor t : List.of(deviceTable, deviceChunks, partials, scalars)) {
      t.close();
    }
  }
}
