package moe4j.model.txl;

import java.io.IOException;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.Flag;
import moe4j.data.stream.ByteCorpus;
import moe4j.data.stream.ByteVocabulary;
import moe4j.model.RunJson;
import moe4j.model.SavedConfig;

/** The byte corpus of a command that has a checkpoint: the checkpoint's own, or another. */
public record SavedCorpus(
    @Flag(
            help = "directory that moe4j data enwik8 has made",
            otherwise = "the checkpoint's, where it names one")
        String data,
    @Flag(help = "any file, its bytes as they are", needs = "split-bytes") String dataFile,
    @Flag(
            help = "bytes for training, validation and test, such as 90000000,5000000,5000000",
            needs = "data-file")
        String splitBytes,
    @Flag(
            help =
                "symbols: all 256 bytes, or upstream's, without newlines and by frequency, which"
                    + " published figures of enwik8 are of",
            otherwise = "the checkpoint's, or upstream where it names none",
            choices = {"bytes", "upstream"})
        String vocabulary) {

  /** Checks that there is one source at most. */
  public SavedCorpus {
    if (data != null && dataFile != null) {
      throw new IllegalArgumentException(
          "one of --data and --data-file is asked for, both are given");
    }
    if (dataFile != null && splitBytes == null) {
      throw new IllegalArgumentException("--data-file needs --split-bytes TRAIN,VALID,TEST");
    }
  }

  /**
   * The symbols that the checkpoint's model knows. All 256 bytes are known without a corpus;
   * upstream's are counted in it.
   *
   * @throws IllegalArgumentException where neither the flags nor the checkpoint name a corpus
   * @throws IOException in one sentence, where it cannot be read
   */
  ByteVocabulary vocabulary(Checkpoint checkpoint) throws IOException {
    return kind(saved(checkpoint)).equals(ByteVocabulary.Kind.BYTES.label())
        ? ByteVocabulary.bytes()
        : open(checkpoint).vocabulary();
  }

  private static CorpusFlags saved(Checkpoint checkpoint) {
    return RunJson.hasData(checkpoint.info().configuration())
        ? SavedConfig.of(checkpoint, null).data(CorpusFlags.class)
        : null;
  }

  private String kind(CorpusFlags saved) {
    if (vocabulary != null) {
      return vocabulary;
    }
    return saved != null ? saved.vocabulary() : ByteVocabulary.Kind.UPSTREAM.label();
  }

  /**
   * Reads it.
   *
   * @throws IllegalArgumentException where neither the flags nor the checkpoint name a corpus
   * @throws IOException in one sentence, where it cannot be read
   */
  ByteCorpus open(Checkpoint checkpoint) throws IOException {
    CorpusFlags saved = saved(checkpoint);
    if (data != null || dataFile != null) {
      return new CorpusFlags(data, dataFile, splitBytes, kind(saved)).open();
    }
    if (saved == null) {
      throw new IllegalArgumentException(
          "one of --data and --data-file is asked for, none is given, and checkpoint %s names no corpus"
              .formatted(checkpoint.directory()));
    }
    return new CorpusFlags(saved.data(), saved.dataFile(), saved.splitBytes(), kind(saved)).open();
  }
}
