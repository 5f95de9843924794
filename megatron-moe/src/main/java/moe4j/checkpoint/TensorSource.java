package moe4j.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;

/**
 * A tensor to be saved, or the slice of it that this process holds.
 *
 * @param name its global name, the same in every layout
 * @param globalShape the shape of the whole tensor
 * @param slice the part that {@code content} writes
 * @param content gives the bytes when asked, so that they need not exist before
 */
public record TensorSource(
    String name, Dtype dtype, List<Long> globalShape, Slice slice, Content content) {
  /**
   * Checks the slice against the shape.
   *
   * @throws IllegalArgumentException where the slice reaches outside
   */
  public TensorSource {
    globalShape = List.copyOf(globalShape);
    if (!slice.isInside(globalShape)) {
      throw new IllegalArgumentException(
          "tensor " + name + " of shape " + globalShape + " does not contain " + slice);
    }
  }

  /** A tensor held in full. */
  public static TensorSource whole(String name, Dtype dtype, List<Long> shape, Content content) {
    return new TensorSource(name, dtype, shape, Slice.whole(shape), content);
  }

  /** The key in its file: its name, with where it starts for a part, as a file may hold several. */
  StoredTensor stored() {
    String key = name;
    if (!slice.equals(Slice.whole(globalShape))) {
      key += "@" + String.join(",", slice.offset().stream().map(String::valueOf).toList());
    }
    return new StoredTensor(key, dtype, slice.shape());
  }

  /** Writes a tensor's bytes, row-major and little-endian, in as many buffers as it likes. */
  @FunctionalInterface
  public interface Content {
    void writeTo(Sink sink) throws IOException;
  }

  /** Takes the bytes of the tensor. */
  @FunctionalInterface
  public interface Sink {
    /** Writes what remains of a buffer, direct ones without a copy; leaves its position alone. */
    void write(ByteBuffer bytes) throws IOException;
  }
}
