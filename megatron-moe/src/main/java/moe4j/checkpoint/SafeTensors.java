package moe4j.checkpoint;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The safetensors format: eight bytes with the header's length, the header (a JSON object that
 * gives each tensor's dtype, shape and range of the data, padded with spaces), the data without
 * holes.
 */
final class SafeTensors {
  static final String METADATA = "__metadata__";

  /** The format's own bound on a header. */
  static final int MAX_HEADER_BYTES = 100_000_000;

  static final int LENGTH_BYTES = Long.BYTES;

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private SafeTensors() {}

  /**
   * A header's content.
   *
   * @param begins each tensor's first byte within the data
   * @param dataBytes the size of the data
   */
  record Header(
      Map<String, StoredTensor> tensors,
      Map<String, Long> begins,
      Map<String, String> metadata,
      long dataBytes) {}

  /** The bytes before the data, for tensors that follow each other in this order. */
  static ByteBuffer encode(List<StoredTensor> tensors, Map<String, String> metadata) {
    ObjectNode header = JSON.createObjectNode();
    if (!metadata.isEmpty()) {
      header.set(METADATA, JSON.valueToTree(metadata));
    }
    long begin = 0;
    for (StoredTensor tensor : tensors) {
      if (header.has(tensor.name())) {
        throw new IllegalArgumentException("tensor " + tensor.name() + " is given twice");
      }
      long end = Math.addExact(begin, tensor.bytes());
      ObjectNode entry = header.putObject(tensor.name());
      entry.put("dtype", tensor.dtype().name());
      entry.set("shape", JSON.valueToTree(tensor.shape()));
      entry.putArray("data_offsets").add(begin).add(end);
      begin = end;
    }
    byte[] text = header.toString().getBytes(StandardCharsets.UTF_8);
    byte[] padded = Arrays.copyOf(text, (text.length + 7) / 8 * 8);
    Arrays.fill(padded, text.length, padded.length, (byte) ' ');
    if (padded.length > MAX_HEADER_BYTES) {
      throw new IllegalArgumentException(
          tensors.size() + " tensors need a header above " + MAX_HEADER_BYTES + " bytes");
    }
    return ByteBuffer.allocate(LENGTH_BYTES + padded.length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(padded.length)
        .put(padded)
        .flip();
  }

  /** Parses a header and checks all it says; {@code file} is named in what is thrown. */
  static Header decode(Path file, byte[] text) throws IOException {
    JsonNode root;
    try {
      root = JSON.readTree(text);
    } catch (JsonProcessingException e) {
      throw foreign(file, "its header is not JSON (" + e.getOriginalMessage() + ")");
    }
    if (text[0] != '{' || !root.isObject()) {
      throw foreign(file, "its header is not a JSON object");
    }
    Map<String, StoredTensor> tensors = new LinkedHashMap<>();
    Map<String, Long> begins = new LinkedHashMap<>();
    Map<String, String> metadata = new LinkedHashMap<>();
    List<Range> ranges = new ArrayList<>();
    for (Map.Entry<String, JsonNode> field : root.properties()) {
      String name = field.getKey();
      JsonNode entry = field.getValue();
      if (name.equals(METADATA)) {
        if (!entry.isObject()) {
          throw foreign(file, "its metadata is " + entry);
        }
        entry.properties().forEach(pair -> metadata.put(pair.getKey(), pair.getValue().asText()));
        continue;
      }
      StoredTensor tensor = tensor(file, name, entry);
      List<Long> offsets = numbers(file, name, entry.path("data_offsets"));
      if (offsets.size() != 2
          || offsets.get(0) < 0
          || offsets.get(1) - offsets.get(0) != tensor.bytes()) {
        throw foreign(
            file, "tensor " + name + " of " + tensor.bytes() + " bytes lies at " + offsets);
      }
      tensors.put(name, tensor);
      begins.put(name, offsets.get(0));
      ranges.add(new Range(name, offsets.get(0), offsets.get(1)));
    }
    ranges.sort(Comparator.comparingLong(Range::begin).thenComparingLong(Range::end));
    long end = 0;
    for (Range range : ranges) {
      if (range.begin != end) {
        throw foreign(file, "tensor " + range.name + " overlaps another or leaves a hole");
      }
      end = range.end;
    }
    return new Header(tensors, begins, metadata, end);
  }

  private record Range(String name, long begin, long end) {}

  private static StoredTensor tensor(Path file, String name, JsonNode entry) throws IOException {
    String dtype = entry.path("dtype").asText();
    List<Long> shape = numbers(file, name, entry.path("shape"));
    try {
      return new StoredTensor(name, Dtype.valueOf(dtype), shape);
    } catch (IllegalArgumentException e) {
      throw foreign(file, "tensor '" + name + "' has dtype '" + dtype + "' and shape " + shape);
    }
  }

  private static List<Long> numbers(Path file, String name, JsonNode array) throws IOException {
    if (!array.isArray()) {
      throw foreign(file, "tensor " + name + " lacks a dtype, a shape or its data_offsets");
    }
    List<Long> numbers = new ArrayList<>();
    for (JsonNode number : array) {
      if (!number.isIntegralNumber() || !number.canConvertToLong()) {
        throw foreign(file, "tensor " + name + " has " + number + " for a size or an offset");
      }
      numbers.add(number.asLong());
    }
    return numbers;
  }

  static IOException foreign(Path file, String why) {
    return new IOException(file + " is corrupt or not a safetensors file: " + why);
  }
}
