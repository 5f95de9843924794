package moe4j.checkpoint;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.List;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/** A file that was written, and the tensors or parts of tensors in it. */
record WrittenFile(Manifest.FileEntry file, List<Part> parts) {
  private static final ObjectMapper JSON = new ObjectMapper();

  WrittenFile {
    parts = List.copyOf(parts);
  }

  /**
   * A tensor or a part of one, without its content.
   *
   * @param name its global name
   * @param shape the whole tensor's
   * @param key its key in the file
   */
  record Part(String name, Dtype dtype, List<Long> shape, String key, Slice slice) {
    static Part of(TensorSource source) {
      return new Part(
          source.name(),
          source.dtype(),
          source.globalShape(),
          source.stored().name(),
          source.slice());
    }
  }

  /**
   * A rank's shards as it tells rank 0 of them. Every rank gets the bytes of all, and names repeat
   * themselves: packed they are a tenth.
   */
  static byte[] encode(List<WrittenFile> shards) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (OutputStream packed = new GZIPOutputStream(bytes)) {
      packed.write(JSON.writeValueAsBytes(shards));
    }
    return bytes.toByteArray();
  }

  static List<WrittenFile> decode(byte[] bytes) throws IOException {
    try (InputStream packed = new GZIPInputStream(new ByteArrayInputStream(bytes))) {
      return JSON.readValue(packed.readAllBytes(), new TypeReference<List<WrittenFile>>() {});
    }
  }
}
