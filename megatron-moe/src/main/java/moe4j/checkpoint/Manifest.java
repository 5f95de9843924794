package moe4j.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The manifest of a checkpoint: what the run was, which files there are, and where each tensor's
 * pieces lie. It is written last, so that its presence says that the rest is there.
 *
 * <p>The last property of the JSON is the checksum of all text before it; readers of every format
 * version find it there. Properties that a reader does not know are ignored, so that only a change
 * of meaning needs a new {@link #formatVersion}.
 *
 * @param formatVersion {@link #FORMAT_VERSION} of the writer
 * @param created when it was written, ISO-8601; a later save into the same directory is later
 * @param run the run's own state
 * @param files the files by section
 * @param tensors every tensor by its global name
 */
public record Manifest(
    int formatVersion,
    String created,
    CheckpointInfo run,
    List<FileEntry> files,
    Map<String, TensorEntry> tensors) {
  /** The version this code writes, and the newest it reads. */
  public static final int FORMAT_VERSION = 1;

  static final String FILE_NAME = "manifest.json";

  private static final String CHECKSUM = ",\n  \"checksum\" : ";

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .defaultPrettyPrinter(
              new DefaultPrettyPrinter().withObjectIndenter(new DefaultIndenter("  ", "\n")))
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES)
          .build();

  /**
   * A file of the checkpoint.
   *
   * @param name its name within the checkpoint's directory
   * @param bytes its size
   * @param checksum the checksum of all of it
   */
  public record FileEntry(String name, Section section, long bytes, String checksum) {}

  /**
   * A tensor.
   *
   * @param shape its global shape
   * @param pieces where its elements lie: each in exactly one piece
   */
  public record TensorEntry(Dtype dtype, List<Long> shape, List<Piece> pieces) {
    /** Copies the lists. */
    public TensorEntry {
      shape = List.copyOf(shape);
      pieces = List.copyOf(pieces);
    }
  }

  /**
   * A part of a tensor.
   *
   * @param file the file's name
   * @param key the tensor's key in that file
   * @param slice the part of the global tensor
   */
  public record Piece(String file, String key, Slice slice) {}

  /**
   * Checks that the parts fit together.
   *
   * @throws IllegalArgumentException where a file is named wrongly or twice, or a tensor's pieces
   *     lie outside it, overlap, leave a part of it out or are in no listed file
   */
  public Manifest {
    files = List.copyOf(files);
    tensors = Collections.unmodifiableMap(new TreeMap<>(tensors));
    try {
      Instant.parse(created);
    } catch (DateTimeParseException e) {
      throw new IllegalArgumentException("'" + created + "' is no time", e);
    }
    List<String> names = files.stream().map(FileEntry::name).toList();
    for (String name : names) {
      if (!name.matches("[A-Za-z0-9_][A-Za-z0-9._-]*") || Collections.frequency(names, name) > 1) {
        throw new IllegalArgumentException("file '" + name + "' is named wrongly or twice");
      }
    }
    tensors.forEach((name, tensor) -> check(name, tensor, names));
  }

  private static void check(String name, TensorEntry tensor, List<String> files) {
    new StoredTensor(name, tensor.dtype, tensor.shape);
    long held = 0;
    for (int i = 0; i < tensor.pieces.size(); i++) {
      Piece piece = tensor.pieces.get(i);
      if (!files.contains(piece.file) || !piece.slice.isInside(tensor.shape)) {
        throw new IllegalArgumentException(
            "tensor " + name + " of shape " + tensor.shape + " cannot have the piece " + piece);
      }
      for (Piece other : tensor.pieces.subList(0, i)) {
        if (piece.slice.intersect(other.slice).isPresent()) {
          throw new IllegalArgumentException(
              "tensor " + name + " has overlapping pieces: " + other + " and " + piece);
        }
      }
      held += piece.slice.volume();
    }
    long volume = Slice.whole(tensor.shape).volume();
    if (held != volume) {
      throw new IllegalArgumentException(
          "tensor " + name + " has pieces for " + held + " of its " + volume + " elements");
    }
  }

  /** A file that was written, and the tensors or parts of tensors in it. */
  record Shard(FileEntry file, List<TensorSource> tensors) {}

  /** The manifest of these files. */
  static Manifest of(Instant created, CheckpointInfo run, List<Shard> shards) {
    Map<String, TensorEntry> tensors = new LinkedHashMap<>();
    for (Shard shard : shards) {
      for (TensorSource source : shard.tensors) {
        TensorEntry known = tensors.get(source.name());
        List<Piece> pieces = new ArrayList<>();
        if (known != null) {
          if (known.dtype != source.dtype() || !known.shape.equals(source.globalShape())) {
            throw new IllegalArgumentException(
                String.format(
                    "tensor %s is saved both as %s %s and as %s %s",
                    source.name(), known.dtype, known.shape, source.dtype(), source.globalShape()));
          }
          pieces.addAll(known.pieces);
        }
        pieces.add(new Piece(shard.file.name(), source.stored().name(), source.slice()));
        tensors.put(source.name(), new TensorEntry(source.dtype(), source.globalShape(), pieces));
      }
    }
    List<FileEntry> files = shards.stream().map(Shard::file).toList();
    return new Manifest(FORMAT_VERSION, created.toString(), run, files, tensors);
  }

  Instant createdAt() {
    return Instant.parse(created);
  }

  /** The manifest as its file holds it. */
  byte[] toBytes() {
    try {
      String text = JSON.writerWithDefaultPrettyPrinter().writeValueAsString(this);
      String body = text.substring(0, text.length() - "\n}".length());
      return (body + ending(body)).getBytes(StandardCharsets.UTF_8);
    } catch (JsonProcessingException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String ending(String body) {
    return CHECKSUM + '"' + Checksum.of(body.getBytes(StandardCharsets.UTF_8)) + "\"\n}\n";
  }

  /**
   * Parses a manifest file's bytes; {@code file} is named in what is thrown.
   *
   * @throws IOException where it is torn, altered, or of a newer version
   */
  static Manifest parse(Path file, byte[] bytes) throws IOException {
    String text = new String(bytes, StandardCharsets.UTF_8);
    int end = text.lastIndexOf(CHECKSUM);
    if (end < 0 || !text.substring(end).equals(ending(text.substring(0, end)))) {
      throw new IOException(
          file + " is torn or altered: it does not end with the checksum of its text");
    }
    try {
      JsonNode root = JSON.readTree(text);
      int version = root.path("formatVersion").asInt();
      if (version < 1 || version > FORMAT_VERSION) {
        throw new IOException(
            String.format(
                "%s has format version %d; this moe4j reads 1 to %d",
                file, version, FORMAT_VERSION));
      }
      return JSON.treeToValue(root, Manifest.class);
    } catch (JsonProcessingException e) {
      String why = e.getCause() == null ? e.getOriginalMessage() : e.getCause().getMessage();
      throw new IOException(file + " is no manifest of a checkpoint: " + why, e);
    }
  }
}
