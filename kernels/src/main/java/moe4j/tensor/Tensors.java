package moe4j.tensor;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The few tensor idioms whose Bytedeco form is long: making, slicing, copying to and from Java. */
public final class Tensors {
  /** The longest piece of native memory that one Java buffer spans, in bytes. */
  private static final long BUFFER_BYTES = 1L << 30;

  private Tensors() {}

  /**
   * A tensor's type, comparable by {@code ==} and in a switch: what the presets return from native
   * code is another object than the constant.
   */
  public static ScalarType dtype(Tensor t) {
    return t.scalar_type().intern();
  }

  /** Options for new tensors of a type on a device. */
  public static TensorOptions options(ScalarType dtype, Device device) {
    return new TensorOptions(dtype).device(new DeviceOptional(device));
  }

  /** A new tensor, whose elements are not set. */
  public static Tensor empty(ScalarType dtype, Device device, long... shape) {
    return torch.empty(shape, options(dtype, device), new MemoryFormatOptional());
  }

  /**
   * A new tensor of another's type and device, whose elements are not set.
   *
   * @param like [n, ...]
   * @param rows its first dimension
   * @return [rows, ...]
   */
  public static Tensor emptyRows(Tensor like, long rows) {
    long[] shape = like.shape();
    shape[0] = rows;
    return empty(dtype(like), like.device(), shape);
  }

  /** A new tensor of zeros. */
  public static Tensor zeros(ScalarType dtype, Device device, long... shape) {
    return torch.zeros(shape, options(dtype, device));
  }

  /**
   * A new tensor in the host's memory, its values undefined.
   *
   * @param pinned whether the memory is page-locked, so that a GPU copies from it or to it while
   *     the host goes on
   */
  public static Tensor emptyHost(ScalarType dtype, boolean pinned, long... shape) {
    TensorOptions options = new TensorOptions(dtype);
    if (pinned) {
      options = options.pinned_memory(new BoolOptional(true));
    }
    return torch.empty(shape, options, new MemoryFormatOptional());
  }

  /** A new tensor with one value everywhere. */
  public static Tensor full(double value, ScalarType dtype, Device device, long... shape) {
    return torch.full(shape, new Scalar(value), options(dtype, device));
  }

  /** {@code dim}'s elements {@code from} (inclusive) to {@code to} (exclusive): a view. */
  public static Tensor slice(Tensor t, long dim, long from, long to) {
    return t.slice(dim, new LongOptional(from), new LongOptional(to), 1);
  }

  /** Wraps a tensor that may be absent. */
  public static TensorOptional optional(Tensor t) {
    return t == null ? new TensorOptional() : new TensorOptional(t);
  }

  /** A native list of tensors. */
  public static TensorVector vector(List<Tensor> tensors) {
    return new TensorVector(tensors.toArray(new Tensor[0]));
  }

  /** The elements as Java floats, in row-major order; at most 2^31 of them. */
  public static float[] floats(Tensor t) {
    try (PointerScope scope = new PointerScope()) {
      Tensor host = t.detach().to(ScalarType.Float).cpu().contiguous();
      float[] values = new float[Math.toIntExact(host.numel())];
      if (values.length > 0) {
        new FloatPointer(host.data_ptr()).get(values);
      }
      return values;
    }
  }

  /** The elements as Java longs, in row-major order; at most 2^31 of them. */
  public static long[] longs(Tensor t) {
    try (PointerScope scope = new PointerScope()) {
      Tensor host = t.detach().to(ScalarType.Long).cpu().contiguous();
      long[] values = new long[Math.toIntExact(host.numel())];
      if (values.length > 0) {
        new LongPointer(host.data_ptr()).get(values);
      }
      return values;
    }
  }

  /** The one element of a tensor; waits for the device. */
  public static double item(Tensor t) {
    try (PointerScope scope = new PointerScope()) {
      return t.detach().to(ScalarType.Double).item_double();
    }
  }

  /** A new host tensor with a copy of {@code values}. */
  public static Tensor of(float[] values, long... shape) {
    return Tensor.create(values, shape.length == 0 ? new long[] {values.length} : shape);
  }

  /** A new host tensor with a copy of {@code values}. */
  public static Tensor of(long[] values, long... shape) {
    return Tensor.create(values, shape.length == 0 ? new long[] {values.length} : shape);
  }

  /** Takes a piece of a tensor's memory. */
  @FunctionalInterface
  public interface ByteSink {
    /** Reads or fills {@code piece}, whose bytes are the tensor's own. */
    void accept(ByteBuffer piece) throws IOException;
  }

  /**
   * Shows the bytes of a contiguous host tensor to {@code sink}, in order, in direct little-endian
   * buffers of at most 1 GiB that share its memory.
   */
  public static void bytes(Tensor t, ByteSink sink) throws IOException {
    if (!t.is_contiguous() || !t.is_cpu()) {
      throw new IllegalArgumentException(
          "A tensor shows its bytes only where it is contiguous and on the CPU, which one of shape "
              + shape(t)
              + " is not.");
    }
    long size = t.nbytes();
    for (long at = 0; at < size; at += BUFFER_BYTES) {
      sink.accept(window(t, at, Math.min(BUFFER_BYTES, size - at)));
    }
  }

  /**
   * A direct little-endian buffer that shares a part of a contiguous host tensor's memory, valid as
   * long as the tensor is.
   *
   * @param length at most 1 GiB
   */
  public static ByteBuffer window(Tensor t, long offset, long length) {
    if (length == 0) {
      return ByteBuffer.allocateDirect(0);
    }
    try (PointerScope scope = new PointerScope()) {
      // A pointer at the place itself: a buffer counts what lies before a position, and has no more
      // than 2^31 bytes.
      return new BytePointer(t.data_ptr())
          .getPointer(offset)
          .limit(length)
          .asByteBuffer()
          .order(ByteOrder.LITTLE_ENDIAN);
    }
  }

  /** A shape for messages, such as {@code [2, 3]}. */
  public static String shape(Tensor t) {
    return Arrays.toString(t.shape());
  }
}
