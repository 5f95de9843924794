package moe4j.checkpoint;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** Random tensors, slices and directories for the tests of this package. */
final class Samples {
  private Samples() {}

  /** A tensor and its bytes. */
  static final class Filled {
    private final StoredTensor tensor;
    private final byte[] bytes;

    Filled(StoredTensor tensor, byte[] bytes) {
      this.tensor = tensor;
      this.bytes = bytes;
    }

    StoredTensor tensor() {
      return tensor;
    }

    byte[] bytes() {
      return bytes;
    }

    TensorSource source() {
      return TensorSource.whole(
          tensor.name(), tensor.dtype(), tensor.shape(), sink -> sink.write(buffer()));
    }

    /** The slice of it, gathered element by element. */
    TensorSource source(Slice slice) {
      byte[] part = part(slice);
      return new TensorSource(
          tensor.name(),
          tensor.dtype(),
          tensor.shape(),
          slice,
          sink -> sink.write(ByteBuffer.wrap(part)));
    }

    ByteBuffer buffer() {
      return ByteBuffer.wrap(bytes);
    }

    byte[] part(Slice slice) {
      int width = tensor.dtype().bytes();
      ByteBuffer part = ByteBuffer.allocate((int) slice.volume() * width);
      for (int element : elements(tensor.shape(), slice)) {
        part.put(bytes, element * width, width);
      }
      return part.array();
    }
  }

  /** The row-major indices of a slice's elements in the whole tensor, by counting. */
  static List<Integer> elements(List<Long> shape, Slice slice) {
    List<Integer> elements = new ArrayList<>();
    int volume = (int) Slice.whole(shape).volume();
    for (int element = 0; element < volume; element++) {
      int rest = element;
      boolean inside = true;
      for (int d = shape.size() - 1; d >= 0; d--) {
        long at = rest % shape.get(d) - slice.offset().get(d);
        inside &= at >= 0 && at < slice.shape().get(d);
        rest /= shape.get(d).intValue();
      }
      if (inside) {
        elements.add(element);
      }
    }
    return elements;
  }

  static List<Long> shape(Random random) {
    List<Long> shape = new ArrayList<>();
    for (int d = random.nextInt(5); d > 0; d--) {
      shape.add(random.nextInt(12) == 0 ? 0L : 1L + random.nextInt(6));
    }
    return shape;
  }

  static Slice slice(Random random, List<Long> shape) {
    List<Long> offset = new ArrayList<>();
    List<Long> size = new ArrayList<>();
    for (long length : shape) {
      long from = random.nextInt((int) length + 1);
      boolean all = random.nextInt(3) == 0;
      offset.add(all ? 0 : from);
      size.add(all ? length : random.nextInt((int) (length - from) + 1));
    }
    return new Slice(offset, size);
  }

  static Filled filled(Random random, String name, Dtype dtype, List<Long> shape) {
    StoredTensor tensor = new StoredTensor(name, dtype, shape);
    byte[] bytes = new byte[(int) tensor.bytes()];
    random.nextBytes(bytes);
    return new Filled(tensor, bytes);
  }

  static List<Filled> filled(Random random, String prefix, int count) {
    List<Filled> tensors = new ArrayList<>();
    Dtype[] dtypes = Dtype.values();
    for (int i = 0; i < count; i++) {
      Dtype dtype = dtypes[random.nextInt(dtypes.length)];
      tensors.add(filled(random, prefix + i, dtype, shape(random)));
    }
    return tensors;
  }

  static List<TensorSource> sources(List<Filled> tensors) {
    return tensors.stream().map(Filled::source).toList();
  }

  static CheckpointInfo info(long iteration) {
    ObjectNode configuration = JsonNodeFactory.instance.objectNode();
    configuration.put("hiddenSize", 64).put("lr", 6e-4).put("tokenizer", "a \"b\" \u00fc");
    configuration.putArray("split").add(99).add(1).add(0);
    ObjectNode extra = JsonNodeFactory.instance.objectNode().put("flops", 1.5e21);
    Map<String, String> randomState = Map.of("user", "q\u00e9==", "another", "1");
    return new CheckpointInfo(
        iteration,
        iteration * 32,
        iteration * 2,
        3,
        -1234567890123456789L,
        randomState,
        configuration,
        "0123abc",
        "0.1.0",
        extra);
  }

  static Path directory() throws IOException {
    return Files.createTempDirectory("moe4j-checkpoint");
  }

  static void copy(Path from, Path to) throws IOException {
    try (var paths = Files.walk(from)) {
      for (Path path : paths.toList()) {
        Files.copy(path, to.resolve(from.relativize(path).toString()));
      }
    }
  }

  /** A disk with so many bytes left. */
  static WritableByteChannel limited(WritableByteChannel file, long[] left) {
    return new WritableByteChannel() {
      @Override
      public int write(ByteBuffer bytes) throws IOException {
        int room = (int) Math.min(left[0], bytes.remaining());
        if (room == 0) {
          throw new IOException("No space left on device");
        }
        int written = file.write(bytes.slice(bytes.position(), room));
        bytes.position(bytes.position() + written);
        left[0] -= written;
        return written;
      }

      @Override
      public boolean isOpen() {
        return file.isOpen();
      }

      @Override
      public void close() throws IOException {
        file.close();
      }
    };
  }
}
