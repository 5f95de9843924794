package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * AdamW (Loshchilov and Hutter 2019) over many tensors on a GPU, a step in few launches: partial
 * sums of the gradients' norm, the step's scalars, the update. It reads and writes everything once,
 * asks the device nothing and sums in a fixed order; {@link #step} can be captured. Its reference
 * is {@link ReferenceAdamW}.
 *
 * <p>Tables on the device tell the kernels what they work on: they hold the addresses of the slots'
 * tensors and of their gradients. The caller keeps all of those alive for as long as steps are
 * taken, or captured ones replayed.
 */
public final class FusedAdamW implements AutoCloseable {
  private static final int THREADS = 512;
  private static final int FINALISE_THREADS = 1024;

  /** Among the chunks of the norm: the slot's sum of squares is known. */
  private static final long KNOWN = 0x80000000L;

  /**
   * A tensor and its state, all contiguous and of one size.
   *
   * @param parameter what the model computes with, fp32 or bf16: a step writes the rounded master
   *     there
   * @param master fp32; the parameter itself where that is fp32; or int16, what a bf16 parameter
   *     lacks of its master ({@link SplitMaster})
   * @param expAvg the first moment
   * @param expAvgSq the second moment. Both are fp32, or they are of the types that all slots have
   *     whose moments are not
   * @param draws where the random numbers come from by which moments are rounded; null where both
   *     are fp32
   * @param weightDecay decoupled: in units of the learning rate
   */
  public record Slot(
      Tensor parameter,
      Tensor master,
      Moment expAvg,
      Moment expAvgSq,
      Moment.Keyed draws,
      double weightDecay) {

    /** Whether its moments are rounded. */
    boolean isLow() {
      return expAvg.type() != MomentType.FP32 || expAvgSq.type() != MomentType.FP32;
    }

    /** Frees both moments; parameter and master are others' to close. */
    public void closeMoments() {
      expAvg.close();
      expAvgSq.close();
    }
  }

  private final double beta1;
  private final double beta2;
  private final double epsilon;
  private final double clipGrad;
  private final long[] sizes;
  private final long[] table;

  /** What the kernels are compiled with. */
  private final String[] defines;

  /** By slot, the chunks of the norm up to its end. */
  private final int[] normEnds;

  private final Tensor deviceTable;

  /** The chunks whose squares are summed: all, but one for a slot whose sum is known. */
  private final Tensor normChunks;

  private final Tensor partials;
  private final Tensor scalars;
  private final AdamWUpdate update;
  private boolean bound;
  private boolean zeroAfter;

  /**
   * The optimizer of some tensors of one GPU.
   *
   * @param clipGrad what the gradients' norm is clipped to; 0 clips nothing
   * @throws IllegalArgumentException naming the slot whose tensors do not fit each other
   */
  public FusedAdamW(List<Slot> slots, double beta1, double beta2, double epsilon, double clipGrad) {
    this(slots, beta1, beta2, epsilon, clipGrad, true);
  }

  /** The same; if {@code streams} is false, nothing is streamed, whatever the GPU. */
  FusedAdamW(
      List<Slot> slots,
      double beta1,
      double beta2,
      double epsilon,
      double clipGrad,
      boolean streams) {
    if (slots.isEmpty()) {
      throw new IllegalArgumentException("AdamW needs at least one tensor.");
    }
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
    this.clipGrad = clipGrad;
    this.sizes = new long[slots.size()];
    this.normEnds = new int[slots.size()];
    this.table = new long[slots.size() * SlotTable.WORDS];
    String[] types = types(slots);
    List<Long> parts = new ArrayList<>();
    for (int i = 0; i < sizes.length; i++) {
      fill(i, slots.get(i));
      SlotTable.addChunks(i, 0, sizes[i], parts);
      normEnds[i] = parts.size();
    }
    try (Device device = slots.get(0).parameter().device()) {
      this.deviceTable = Scopes.keep(() -> Tensors.of(table).to(device, ScalarType.Long));
      this.normChunks = Scopes.keep(() -> packed(parts).to(device, ScalarType.Long));
      this.partials = Scopes.keep(() -> Tensors.zeros(ScalarType.Float, device, parts.size()));
      this.scalars = Scopes.keep(() -> Tensors.zeros(ScalarType.Float, device, 12));
      this.update = new AdamWUpdate(table, THREADS, parts.size(), types, device, streams);
    }
    this.defines = update.defines();
  }

  /** The types of the first and of the second moment, of the slots in which they are not fp32. */
  private static String[] types(List<Slot> slots) {
    MomentType first = MomentType.FP32;
    MomentType second = MomentType.FP32;
    for (int i = 0; i < slots.size(); i++) {
      Slot slot = slots.get(i);
      if (slot.isLow()) {
        boolean other = first != MomentType.FP32 || second != MomentType.FP32;
        if (other && (first != slot.expAvg().type() || second != slot.expAvgSq().type())) {
          throw new IllegalArgumentException(
              "slot %d: its moments are in %s and %s, and another slot's in %s and %s"
                  .formatted(i, slot.expAvg().type(), slot.expAvgSq().type(), first, second));
        }
        first = slot.expAvg().type();
        second = slot.expAvgSq().type();
      }
    }
    return new String[] {"FIRST=" + first.kernel(), "SECOND=" + second.kernel()};
  }

  private static Tensor packed(List<Long> chunks) {
    return Tensors.of(chunks.stream().mapToLong(Long::longValue).toArray());
  }

  private void fill(int index, Slot slot) {
    boolean parameter = isBf16(index, "parameter", slot.parameter());
    boolean rest = Tensors.dtype(slot.master()) == ScalarType.Short;
    if (rest ? !parameter : isBf16(index, "master", slot.master())) {
      throw new IllegalArgumentException(
          "slot %d: beside a parameter in %s a master cannot be in %s"
              .formatted(index, Tensors.dtype(slot.parameter()), Tensors.dtype(slot.master())));
    }
    sizes[index] = slot.parameter().numel();
    for (Tensor t : List.of(slot.master(), slot.expAvg().values(), slot.expAvgSq().values())) {
      requireSize(index, t);
    }
    Moment.Keyed draws = slot.draws();
    if (slot.isLow() && (draws == null || draws.first() % 8 != 0)) {
      throw new IllegalArgumentException(
          "slot %d: moments that are rounded by draws need a key, and a first index that is a multiple of eight"
              .formatted(index));
    }
    int at = index * SlotTable.WORDS;
    table[at] = address(slot.parameter());
    table[at + 1] = address(slot.master());
    table[at + 2] = address(slot.expAvg().values());
    table[at + 3] = address(slot.expAvgSq().values());
    table[at + SlotTable.SIZE] = sizes[index];
    table[at + SlotTable.TYPES] =
        (parameter ? SlotTable.PARAMETER_BF16 : 0)
            | (rest ? SlotTable.MASTER_REST : 0)
            | (slot.isLow() ? SlotTable.MOMENTS_LOW : 0);
    table[at + SlotTable.DECAY] = Double.doubleToRawLongBits(slot.weightDecay());
    table[at + SlotTable.SCALES] = scales(slot.expAvg());
    table[at + SlotTable.SCALES + 1] = scales(slot.expAvgSq());
    table[at + SlotTable.KEY] = draws == null ? 0 : draws.key();
    table[at + SlotTable.KEY + 1] = draws == null ? 0 : draws.first();
  }

  /** {@link #bind(List, List, boolean)} where no sum of squares is known. */
  public void bind(List<Tensor> gradients, boolean zeroAfter) {
    bind(gradients, Collections.nCopies(sizes.length, null), zeroAfter);
  }

  /**
   * Says where the gradients are, on the stream of the steps, before one and never while one is
   * captured; they may be other tensors at each step.
   *
   * @param gradients one for each slot, in their order: contiguous, fp32 or bf16; null is zeros
   * @param squares one for each slot: parts, in any number, of the sum of the gradient's squares,
   *     contiguous fp32, which what computes the gradient has left there, so that the norm does not
   *     read it; or null. They are added up in the same order at each step
   * @param zeroAfter whether steps leave zeros in the gradients, skipped ones too
   */
  public void bind(List<Tensor> gradients, List<Tensor> squares, boolean zeroAfter) {
    if (gradients.size() != sizes.length || squares.size() != sizes.length) {
      throw new IllegalArgumentException(
          "AdamW was given %d gradients and %d sums of squares for %d slots: each needs one, or null."
              .formatted(gradients.size(), squares.size(), sizes.length));
    }
    long[] before = table.clone();
    boolean other = bindSquares(gradients, squares);
    for (int i = 0; i < sizes.length; i++) {
      Tensor gradient = gradients.get(i);
      int at = i * SlotTable.WORDS;
      table[at + SlotTable.GRADIENT] = 0;
      table[at + SlotTable.TYPES] &= ~SlotTable.GRADIENT_BF16;
      if (gradient != null) {
        requireSize(i, gradient);
        table[at + SlotTable.TYPES] |=
            isBf16(i, "gradient", gradient) ? SlotTable.GRADIENT_BF16 : 0;
        table[at + SlotTable.GRADIENT] = address(gradient);
      }
    }
    if (other) {
      bindNorm();
    }
    update.bind(table);
    this.zeroAfter = zeroAfter;
    if (!bound || !Arrays.equals(before, table)) {
      Scopes.run(() -> deviceTable.copy_(Tensors.of(table)));
    }
    bound = true;
  }

  /** Whether it is known of other slots than before. */
  private boolean bindSquares(List<Tensor> gradients, List<Tensor> squares) {
    boolean other = false;
    for (int i = 0; i < sizes.length; i++) {
      Tensor known = squares.get(i);
      if (known != null && (gradients.get(i) == null || isBf16(i, "sum of squares", known))) {
        throw new IllegalArgumentException(
            "slot %d: the sum of squares is of a gradient, in fp32".formatted(i));
      }
      int at = i * SlotTable.WORDS + SlotTable.SQUARES;
      long address = known == null ? 0 : address(known);
      other |= (address == 0) != (table[at] == 0);
      table[at] = address;
      table[at + 1] = known == null ? 0 : known.numel();
    }
    return other;
  }

  /** The norm reads all chunks of some slots, and of others the known sum. */
  private void bindNorm() {
    List<Long> parts = new ArrayList<>();
    for (int i = 0; i < sizes.length; i++) {
      if (table[i * SlotTable.WORDS + SlotTable.SQUARES] != 0) {
        parts.add((long) i << 32 | KNOWN);
      } else {
        SlotTable.addChunks(i, 0, sizes[i], parts);
      }
      normEnds[i] = parts.size();
    }
    Scopes.run(() -> normChunks.narrow(0, 0, parts.size()).copy_(packed(parts)));
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
    int count = normEnds[sizes.length - 1];
    sumChunks(count);
    finish(partials, count, rates, step, norm, foundInf);
  }

  /**
   * The sum of squares of the gradients of the first slots: fp64, a scalar. Where ranks have parts
   * of a model and copies, the slots that this one counts come first, and the sum over the ranks
   * goes to {@link #step(Tensor, Tensor, Tensor, Tensor, Tensor)}.
   */
  public Tensor squares(int slots) {
    int count = slots == 0 ? 0 : normEnds[slots - 1];
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

  /** The sum of squares of each of the first of the norm's chunks. */
  private void sumChunks(int count) {
    if (!bound) {
      throw new IllegalStateException(
          "AdamW takes no step before bind has said where the gradients are.");
    }
    CudaKernel.of("optimizer/adamw.cu", "norm_partials", defines)
        .launch(count, THREADS, 0, deviceTable, normChunks, partials);
  }

  private void finish(
      Tensor squares, int count, Tensor rates, Tensor step, Tensor norm, Tensor foundInf) {
    // A double goes as its bits.
    CudaKernel.of("optimizer/adamw.cu", "finalise", defines)
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
    update.launch(deviceTable, scalars, zeroAfter);
  }

  /** Whether updates stream slots, or pieces of them, through shared memory. */
  boolean isStreaming() {
    return update.isStreaming();
  }

  private static long scales(Moment moment) {
    return moment.scales() == null ? 0 : address(moment.scales());
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
    for (Tensor t : List.of(deviceTable, normChunks, partials, scalars)) {
      t.close();
    }
    update.close();
  }
}
