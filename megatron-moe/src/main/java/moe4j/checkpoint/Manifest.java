package moe4j.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.MapperFeature;
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
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
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

  /** More than this is no manifest of ours: it is neither written nor read. */
  static final int MAX_BYTES = 64 << 20;

  private static final String CHECKSUM = ",\n  \"checksum\" : ";

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .defaultPrettyPrinter(
              new DefaultPrettyPrinter().withObjectIndenter(new DefaultIndenter("  ", "\n")))
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
          .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
          .enable(DeserializationFeature.FAIL_ON_NUMBERS_FOR_ENUMS)
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

  /** The part that is read first; it says whether the rest can be read. */
  private record Version(int formatVersion) {}

  /** The part that a listing reads: all but the run and the pieces, which may be millions. */
  record Head(String created, List<FileEntry> files) {
    Head {
      files = List.copyOf(files);
      check(created, files);
    }

    Instant createdAt() {
      return Instant.parse(created);
    }
  }

  /** What tells a checkpoint from others: all but the files and the pieces. */
  record Outline(String created, CheckpointInfo run) {
    Outline {
      check(created, List.of());
    }
  }

  /**
   * Checks that the parts fit together.
   *
   * @throws IllegalArgumentException where a file is named wrongly or twice, or a tensor's pieces
   *     lie outside it, overlap, leave a part of it out or are in no listed file
   */
  public Manifest {
    files = List.copyOf(files);
    tensors = Collections.unmodifiableMap(new TreeMap<>(tensors));
    Set<String> names = check(created, files);
    tensors.forEach((name, tensor) -> check(name, tensor, names));
  }

  /** Checks the time and the files, and returns the files' names. */
  private static Set<String> check(String created, List<FileEntry> files) {
    try {
      Instant.parse(created);
    } catch (DateTimeParseException e) {
      throw new IllegalArgumentException("'" + created + "' is no time", e);
    }
    Set<String> names = new HashSet<>();
    for (FileEntry file : files) {
      if (!file.name.matches("[A-Za-z0-9_][A-Za-z0-9._-]*") || !names.add(file.name)) {
        throw new IllegalArgumentException("file '" + file.name + "' is named wrongly or twice");
      }
    }
    return names;
  }

  private static void check(String name, TensorEntry tensor, Set<String> files) {
    new StoredTensor(name, tensor.dtype, tensor.shape);
    for (Piece piece : tensor.pieces) {
      if (!files.contains(piece.file) || !piece.slice.isInside(tensor.shape)) {
        throw new IllegalArgumentException(
            "tensor " + name + " of shape " + tensor.shape + " cannot have the piece " + piece);
      }
    }
    Optional<List<Integer>> overlap =
        Tiling.overlap(tensor.pieces.stream().map(Piece::slice).toList());
    if (overlap.isPresent()) {
      throw new IllegalArgumentException(
          String.format(
              "tensor %s has overlapping pieces: %s and %s",
              name,
              tensor.pieces.get(overlap.get().get(0)),
              tensor.pieces.get(overlap.get().get(1))));
    }
    long held = 0;
    for (Piece piece : tensor.pieces) {
      held += piece.slice.volume();
    }
    long volume = Slice.whole(tensor.shape).volume();
    if (held != volume) {
      throw new IllegalArgumentException(
          "tensor " + name + " has pieces for " + held + " of its " + volume + " elements");
    }
  }

  /** The manifest of these files. */
  static Manifest of(Instant created, CheckpointInfo run, List<WrittenFile> shards) {
    Map<String, WrittenFile.Part> first = new HashMap<>();
    Map<String, List<Piece>> pieces = new HashMap<>();
    for (WrittenFile shard : shards) {
      for (WrittenFile.Part part : shard.parts()) {
        WrittenFile.Part known = first.putIfAbsent(part.name(), part);
        if (known != null
            && (known.dtype() != part.dtype() || !known.shape().equals(part.shape()))) {
          throw new IllegalArgumentException(
              String.format(
                  "tensor %s is saved both as %s %s and as %s %s",
                  part.name(), known.dtype(), known.shape(), part.dtype(), part.shape()));
        }
        pieces
            .computeIfAbsent(part.name(), name -> new ArrayList<>())
            .add(new Piece(shard.file().name(), part.key(), part.slice()));
      }
    }
    Map<String, TensorEntry> tensors = new HashMap<>();
    first.forEach(
        (name, part) ->
            tensors.put(name, new TensorEntry(part.dtype(), part.shape(), pieces.get(name))));
    List<FileEntry> files = shards.stream().map(WrittenFile::file).toList();
    return new Manifest(FORMAT_VERSION, created.toString(), run, files, tensors);
  }

  /**
   * The manifest as its file holds it.
   *
   * @throws IllegalArgumentException where it would be larger than a reader takes
   */
  byte[] toBytes() {
    try {
      String text = JSON.writerWithDefaultPrettyPrinter().writeValueAsString(this);
      String body = text.substring(0, text.length() - "\n}".length());
      byte[] bytes = (body + ending(body)).getBytes(StandardCharsets.UTF_8);
      if (bytes.length > MAX_BYTES) {
        throw new IllegalArgumentException(
            "the manifest of %d tensors in %d files would have %d bytes, and at most %d are read"
                .formatted(tensors.size(), files.size(), bytes.length, MAX_BYTES));
      }
      return bytes;
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
    return parse(file, bytes, Manifest.class);
  }

  /** Parses the head alone; all of the text is still checked against its checksum. */
  static Head parseHead(Path file, byte[] bytes) throws IOException {
    return parse(file, bytes, Head.class);
  }

  /** Parses the run alone; all of the text is still checked against its checksum. */
  static Outline parseOutline(Path file, byte[] bytes) throws IOException {
    return parse(file, bytes, Outline.class);
  }

  private static <T> T parse(Path file, byte[] bytes, Class<T> type) throws IOException {
    String text = new String(bytes, StandardCharsets.UTF_8);
    int end = text.lastIndexOf(CHECKSUM);
    if (end < 0 || !text.substring(end).equals(ending(text.substring(0, end)))) {
      throw new IOException(
          file + " is torn or altered: it does not end with the checksum of its text");
    }
    try {
      // Never as a tree: of a thousand ranks' pieces that would be gigabytes.
      int version = JSON.readValue(text, Version.class).formatVersion;
      if (version < 1 || version > FORMAT_VERSION) {
        throw new IOException(
            String.format(
                "%s has format version %d; this moe4j reads 1 to %d",
                file, version, FORMAT_VERSION));
      }
      return JSON.readValue(text, type);
    } catch (JsonProcessingException e) {
      throw new IOException(file + " is no manifest of a checkpoint: " + JsonProblem.of(e), e);
    }
  }
}
