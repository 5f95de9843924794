package moe4j.model.txl;

import java.io.IOException;
import java.util.Optional;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.Flag;
import moe4j.data.stream.ByteCorpus;
import moe4j.data.stream.ByteVocabulary;
import moe4j.model.RunJson;
import moe4j.model.SavedConfig;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

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
  private static final Logger LOG = LogManager.getLogger(SavedCorpus.class);

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
   * The symbols that the checkpoint's model knows: those that the checkpoint keeps, or else all 256
   * bytes, or upstream's, which are counted in a corpus.
   *
   * @throws IllegalArgumentException where neither the flags nor the checkpoint name a corpus that
   *     is needed, or the corpus has other symbols: one sentence
   * @throws IOException in one sentence, where it cannot be read
   */
  ByteVocabulary symbols(Checkpoint checkpoint) throws IOException {
    Optional<ByteVocabulary> kept = SavedSymbols.vocabulary(checkpoint);
    if (data == null && dataFile == null && kept.filter(this::isAskedFor).isPresent()) {
      return kept.get();
    }
    return kind(saved(checkpoint)).equals(ByteVocabulary.Kind.BYTES.label())
        ? ByteVocabulary.bytes()
        : open(checkpoint).vocabulary();
  }

  private boolean isAskedFor(ByteVocabulary kept) {
    return vocabulary == null || vocabulary.equals(kept.name());
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
   * @throws IllegalArgumentException where neither the flags nor the checkpoint name a corpus, or
   *     its symbols stand for other bytes than the model's: one sentence
   * @throws IOException in one sentence, where it cannot be read
   */
  ByteCorpus open(Checkpoint checkpoint) throws IOException {
    CorpusFlags saved = saved(checkpoint);
    CorpusFlags flags = flags(checkpoint, saved);
    boolean named = data != null || dataFile != null;
    ByteCorpus corpus = named ? flags.open() : own(checkpoint, flags);
    checkSymbols(checkpoint, saved, corpus);
    return corpus;
  }

  /** Reads the corpus that the checkpoint names: nobody has typed the flag that may be wrong. */
  private static ByteCorpus own(Checkpoint checkpoint, CorpusFlags flags) throws IOException {
    try {
      return flags.open();
    } catch (IOException | IllegalArgumentException e) {
      throw new IOException(
          "the corpus that checkpoint %s names cannot be used (%s): --data or --data-file says where it lies now"
              .formatted(checkpoint.directory(), e.getMessage()),
          e);
    }
  }

  private CorpusFlags flags(Checkpoint checkpoint, CorpusFlags saved) {
    if (data != null || dataFile != null) {
      return new CorpusFlags(data, dataFile, splitBytes, kind(saved));
    }
    if (saved == null) {
      throw new IllegalArgumentException(
          "one of --data and --data-file is asked for, none is given, and checkpoint %s names no corpus"
              .formatted(checkpoint.directory()));
    }
    return new CorpusFlags(saved.data(), saved.dataFile(), saved.splitBytes(), kind(saved));
  }

  /**
   * Upstream's symbols are of the corpus that they were counted in: as many of another one's may
   * stand for other bytes. Another number of them is refused where the model is made.
   */
  private static void checkSymbols(Checkpoint checkpoint, CorpusFlags saved, ByteCorpus corpus)
      throws IOException {
    ByteVocabulary found = corpus.vocabulary();
    if (found.kind() == ByteVocabulary.Kind.BYTES) {
      return;
    }
    Optional<ByteVocabulary> kept = SavedSymbols.vocabulary(checkpoint);
    if (kept.isPresent()) {
      if (kept.get().size() == found.size() && !kept.get().identity().equals(found.identity())) {
        throw new IllegalArgumentException(
            "checkpoint %s has learnt the symbols of %s, and those of %s stand for other bytes"
                .formatted(checkpoint.directory(), name(saved), corpus.source()));
      }
      return;
    }
    Optional<String> learnt = SavedSymbols.corpus(checkpoint);
    if (learnt.isPresent() && !learnt.get().equals(corpus.identity())) {
      LOG.warn(
          "checkpoint {} has learnt the symbols of the corpus {}, and {} is the corpus {}: where its"
              + " symbols stand for other bytes, what comes out is wrong",
          checkpoint.directory(),
          learnt.get(),
          corpus.source(),
          corpus.identity());
    }
  }

  private static String name(CorpusFlags saved) {
    return saved == null
        ? "another corpus"
        : saved.data() != null ? saved.data() : saved.dataFile();
  }
}
