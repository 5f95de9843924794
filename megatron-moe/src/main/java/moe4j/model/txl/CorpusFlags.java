package moe4j.model.txl;

import java.io.IOException;
import java.nio.file.Path;
import moe4j.config.Builders;
import moe4j.config.Flag;
import moe4j.data.stream.ByteCorpus;
import moe4j.data.stream.ByteVocabulary;
import moe4j.data.stream.SplitBytes;

/** The byte corpus that a Transformer-XL is trained on. */
public record CorpusFlags(
    @Flag(help = "directory that moe4j data enwik8 has made") String data,
    @Flag(help = "any file, its bytes as they are", needs = "split-bytes") String dataFile,
    @Flag(
            help = "bytes for training, validation and test, such as 90000000,5000000,5000000",
            needs = "data-file")
        String splitBytes,
    @Flag(
            help =
                "symbols: all 256 bytes, or upstream's, without newlines and by frequency, which"
                    + " published figures of enwik8 are of",
            value = "upstream",
            choices = {"bytes", "upstream"})
        String vocabulary) {

  /** Checks that there is one source. */
  public CorpusFlags {
    if ((data == null) == (dataFile == null)) {
      throw new IllegalArgumentException(
          "one of --data and --data-file is asked for, %s given"
              .formatted(data == null ? "none is" : "both are"));
    }
    if (dataFile != null && splitBytes == null) {
      throw new IllegalArgumentException("--data-file needs --split-bytes TRAIN,VALID,TEST");
    }
  }

  /** A builder whose values are the flags' defaults. */
  public static CorpusFlagsBuilder builder() {
    return Builders.of(CorpusFlags.class, CorpusFlagsBuilder.class);
  }

  /** A builder whose values are these. */
  public CorpusFlagsBuilder toBuilder() {
    return Builders.from(this, CorpusFlagsBuilder.class);
  }

  /**
   * Reads it.
   *
   * @throws IOException in one sentence, where that cannot be
   */
  public ByteCorpus open() throws IOException {
    ByteVocabulary.Kind kind = ByteVocabulary.Kind.of(vocabulary);
    return data != null
        ? ByteCorpus.open(Path.of(data), kind)
        : ByteCorpus.open(Path.of(dataFile), SplitBytes.parse(splitBytes), kind);
  }
}
