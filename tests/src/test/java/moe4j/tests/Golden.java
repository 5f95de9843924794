package moe4j.tests;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.Closeable;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;
import moe4j.checkpoint.SafeTensorsReader;
import moe4j.checkpoint.Slice;
import moe4j.checkpoint.StoredTensor;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Values made by PyTorch and Megatron; {@code tests/golden} has the programs that made them. */
final class Golden implements Closeable {
  private final SafeTensorsReader file;

  private Golden(SafeTensorsReader file) {
    this.file = file;
  }

  /** A whole model's. */
  static Golden model(String name) throws IOException {
    return new Golden(SafeTensorsReader.open(path(name + ".safetensors")));
  }

  /** A piece's: a list of cases. */
  static JsonNode cases(String name) throws IOException {
    return new ObjectMapper().readTree(path(name + ".json").toFile());
  }

  private static Path path(String name) {
    try {
      return Path.of(Golden.class.getResource("/golden/" + name).toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(name, e);
    }
  }

  /** The elements of a JSON array. */
  static double[] doubles(JsonNode array) {
    double[] values = new double[array.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = array.get(i).asDouble();
    }
    return values;
  }

  /** An fp32 tensor of a JSON array. */
  static Tensor floats(JsonNode array, long... shape) {
    float[] values = new float[array.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) array.get(i).asDouble();
    }
    return Tensors.of(values, shape);
  }

  /** The header's entry. */
  String metadata(String key) {
    return file.metadata().get(key);
  }

  boolean contains(String name) {
    return file.tensors().containsKey(name);
  }

  /** The names of the model's parameters. */
  Set<String> parameters() {
    Set<String> names = new TreeSet<>(file.tensors().keySet());
    names.removeIf(name -> name.matches("(input|output|grad)\\..*"));
    return names;
  }

  /** A tensor of the file, on the host: fp32 or int64. */
  Tensor tensor(String name) throws IOException {
    StoredTensor stored = file.tensors().get(name);
    ScalarType type =
        switch (stored.dtype()) {
          case F32 -> ScalarType.Float;
          case I64 -> ScalarType.Long;
          default -> throw new IllegalStateException(stored.toString());
        };
    long[] shape = stored.shape().stream().mapToLong(n -> n).toArray();
    Tensor tensor = Tensors.zeros(type, new Device("cpu"), shape);
    file.read(name, Slice.whole(stored.shape()), Tensors.window(tensor, 0, tensor.nbytes()));
    return tensor;
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
