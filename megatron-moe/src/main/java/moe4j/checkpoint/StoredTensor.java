package moe4j.checkpoint;

import java.util.List;

/**
 * A tensor in a safetensors file: its key, element type and shape. The empty shape is a scalar.
 *
 * @param name the key in the file, unique there
 */
public record StoredTensor(String name, Dtype dtype, List<Long> shape) {
  /**
   * Checks that the size in bytes is a number.
   *
   * @throws IllegalArgumentException where a dimension is negative or the size overflows
   */
  public StoredTensor {
    shape = List.copyOf(shape);
    if (name.isEmpty() || name.equals(SafeTensors.METADATA)) {
      throw new IllegalArgumentException("a tensor cannot be named '" + name + "'");
    }
    bytes(name, dtype, shape);
  }

  /** A tensor of this shape. */
  public static StoredTensor of(String name, Dtype dtype, Long... shape) {
    return new StoredTensor(name, dtype, List.of(shape));
  }

  /** Its data's size. */
  public long bytes() {
    return bytes(name, dtype, shape);
  }

  private static long bytes(String name, Dtype dtype, List<Long> shape) {
    try {
      return Math.multiplyExact(Slice.whole(shape).volume(), (long) dtype.bytes());
    } catch (ArithmeticException | IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "tensor " + name + " has an impossible shape " + shape + " of " + dtype, e);
    }
  }
}
