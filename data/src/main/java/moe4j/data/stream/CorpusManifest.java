package moe4j.data.stream;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import moe4j.data.Reasons;

/**
 * What {@code DIR/corpus.json} says of {@code train.bytes}, {@code valid.bytes} and {@code
 * test.bytes} beside it. It is written last: where it stands, the rest does.
 *
 * @param formatVersion {@link #FORMAT_VERSION}
 * @param name of the corpus: {@code enwik8}
 * @param source where it came from: a URL or a file's name
 * @param md5 of the three parts one after the other, in hex
 * @param bytes sizes of the parts
 */
@JsonIgnoreProperties(ignoreUnknown = true)
public record CorpusManifest(
    int formatVersion, String name, String source, String md5, Sizes bytes) {
  /** The version this code writes, and the newest it reads. */
  public static final int FORMAT_VERSION = 1;

  static final String FILE_NAME = "corpus.json";

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .defaultPrettyPrinter(
              new DefaultPrettyPrinter().withObjectIndenter(new DefaultIndenter("  ", "\n")))
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES)
          .build();

  /** Bytes of each part. */
  public record Sizes(long train, long valid, long test) {}

  /** The part that is read first; it says whether the rest can be read. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  private record Version(int formatVersion) {}

  static CorpusManifest of(String name, String source, String md5, SplitBytes split) {
    return new CorpusManifest(
        FORMAT_VERSION, name, source, md5, new Sizes(split.train(), split.valid(), split.test()));
  }

  /** The sizes, which make sense: else it would not have been read. */
  public SplitBytes split() {
    return new SplitBytes(bytes.train(), bytes.valid(), bytes.test());
  }

  byte[] json() {
    try {
      return (JSON.writerWithDefaultPrettyPrinter().writeValueAsString(this) + "\n")
          .getBytes(StandardCharsets.UTF_8);
    } catch (JsonProcessingException e) {
      throw new AssertionError("a record of numbers and texts", e);
    }
  }

  /**
   * Reads a directory's.
   *
   * @throws IOException if the file does not exist, or is no manifest: one sentence naming the file
   */
  static CorpusManifest read(Path directory) throws IOException {
    Path file = directory.resolve(FILE_NAME);
    String text;
    try {
      text = Files.readString(file);
    } catch (NoSuchFileException e) {
      throw new IOException(
          "--data %s holds no byte corpus: there is no %s in it; moe4j data enwik8 --out %s makes one"
              .formatted(directory, FILE_NAME, directory),
          e);
    } catch (IOException e) {
      throw new IOException("%s cannot be read: %s".formatted(file, Reasons.of(e)), e);
    }
    try {
      Version version = JSON.readValue(text, Version.class);
      if (version != null && version.formatVersion() != FORMAT_VERSION) {
        throw new IOException(
            "%s has format version %d, and this version of moe4j reads version %d"
                .formatted(file, version.formatVersion(), FORMAT_VERSION));
      }
      CorpusManifest manifest = JSON.readValue(text, CorpusManifest.class);
      if (manifest == null || manifest.split().sum() == 0) {
        throw new IllegalArgumentException("nothing in it");
      }
      return manifest;
    } catch (JsonProcessingException | IllegalArgumentException e) {
      throw new IOException("%s is not what moe4j data writes".formatted(file), e);
    }
  }
}
