package moe4j.optimizer;

import java.util.function.Function;
import moe4j.kernels.optimizer.FusedAdamW;
import moe4j.kernels.optimizer.Moment;
import moe4j.kernels.optimizer.MomentType;
import moe4j.kernels.optimizer.SplitMaster;
import moe4j.tensor.Philox;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Parameter;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What the optimizer holds for a parameter, or for a segment of it: the elements that this rank
 * updates. However it is kept, it is read and set in fp32. Its tensors are of the parameter's shape
 * where it is all of it, else flat.
 */
public final class OptimizerState implements AutoCloseable {
  /** A smaller tensor's moments are in fp32 in any case. */
  static final long LEAST = 4096;

  private final Parameter parameter;
  private final long from;
  private final long to;
  private final FusedAdamW.Slot slot;
  private final boolean own;
  private final boolean split;

  /**
   * The state before the first step.
   *
   * @param from the first element, among the rank's own in row-major order
   * @param to behind the last
   * @param value the elements that the model computes with
   * @param seed the run's
   */
  OptimizerState(
      Parameter parameter,
      long from,
      long to,
      Tensor value,
      StatePrecision precision,
      long seed,
      double weightDecay) {
    this.parameter = parameter;
    this.from = from;
    this.to = to;
    this.own = Tensors.dtype(value) != ScalarType.Float;
    this.split = own && precision.split();
    Tensor master = value;
    if (own) {
      master =
          Scopes.keep(
              split
                  ? () -> Tensors.zeros(ScalarType.Short, value.device(), value.shape())
                  : () -> value.detach().to(ScalarType.Float));
    }
    boolean low = parameter.decay() && parameter.tensor().numel() >= LEAST;
    this.slot =
        new FusedAdamW.Slot(
            value,
            master,
            new Moment(low ? precision.expAvg() : MomentType.FP32, false, value),
            new Moment(low ? precision.expAvgSq() : MomentType.FP32, true, value),
            new Moment.Keyed(seed ^ Philox.stream(place(parameter)), from),
            weightDecay);
  }

  /** The whole's name and where this rank's part of it begins: replicas have the same. */
  private static String place(Parameter parameter) {
    Parameter.Piece first = parameter.pieces().get(0);
    return "optimizer.%s%s".formatted(first.name(), first.offset());
  }

  /** The model's parameter. */
  public Parameter parameter() {
    return parameter;
  }

  /** The first element, among the rank's own in row-major order. */
  public long from() {
    return from;
  }

  /** Behind the last. */
  public long to() {
    return to;
  }

  /** What the update works on. */
  FusedAdamW.Slot slot() {
    return slot;
  }

  /** The segment as a view of a tensor of the parameter's shape. */
  public Tensor of(Tensor like) {
    return to - from == like.numel() ? like : like.view(-1).narrow(0, from, to - from);
  }

  /** Bytes of master and moments, as far as they are kept beside the parameter. */
  double bytes() {
    double master = split ? 2 : own ? 4 : 0;
    double moments = slot.expAvg().type().bytes() + slot.expAvgSq().type().bytes();
    return (to - from) * (master + moments);
  }

  /** Whether there is a master beside the parameter. */
  public boolean hasMaster() {
    return own;
  }

  /** The master in fp32; the parameter itself where that is fp32. */
  public Tensor master() {
    return split ? SplitMaster.join(slot.parameter(), slot.master()) : slot.master();
  }

  /** The first moment in fp32. */
  public Tensor expAvg() {
    return slot.expAvg().read();
  }

  /** The second moment in fp32. */
  public Tensor expAvgSq() {
    return slot.expAvgSq().read();
  }

  /** Sets the master, and with it the parameter where the two are kept together. */
  public void setMaster(Tensor master) {
    try (NoGradGuard guard = new NoGradGuard()) {
      if (split) {
        SplitMaster.split(master, slot.parameter(), slot.master());
      } else if (master.data_ptr().address() != slot.master().data_ptr().address()) {
        slot.master().copy_(master);
      }
    }
  }

  /** Sets the first moment, to the nearest that can be kept. */
  public void setExpAvg(Tensor expAvg) {
    slot.expAvg().write(expAvg);
  }

  /** Sets the second moment, to the nearest that can be kept. */
  public void setExpAvgSq(Tensor expAvgSq) {
    slot.expAvgSq().write(expAvgSq);
  }

  /** The three of them. */
  public enum Kind {
    /** {@link OptimizerState#master}. */
    MASTER,
    /** {@link OptimizerState#expAvg}. */
    EXP_AVG,
    /** {@link OptimizerState#expAvgSq}. */
    EXP_AVG_SQ
  }

  /**
   * Elements of one of them, flat and in fp32.
   *
   * @param start the first, of this segment's
   * @param end behind the last
   */
  public Tensor read(Kind kind, long start, long end) {
    return switch (kind) {
      case MASTER -> master(start, end);
      case EXP_AVG -> slot.expAvg().read(start, end);
      case EXP_AVG_SQ -> slot.expAvgSq().read(start, end);
    };
  }

  private Tensor master(long start, long end) {
    Function<Tensor, Tensor> part = t -> t.detach().view(-1).narrow(0, start, end - start);
    Tensor master = part.apply(slot.master());
    return split ? SplitMaster.join(part.apply(slot.parameter()), master) : master;
  }

  /** All of one of them, in fp32. */
  public Tensor read(Kind kind) {
    return switch (kind) {
      case MASTER -> master();
      case EXP_AVG -> expAvg();
      case EXP_AVG_SQ -> expAvgSq();
    };
  }

  /** Sets all of one of them. */
  public void set(Kind kind, Tensor values) {
    switch (kind) {
      case MASTER -> setMaster(values);
      case EXP_AVG -> setExpAvg(values);
      case EXP_AVG_SQ -> setExpAvgSq(values);
    }
  }

  @Override
  public void close() {
    if (own) {
      slot.master().close();
    }
    slot.closeMoments();
  }
}
