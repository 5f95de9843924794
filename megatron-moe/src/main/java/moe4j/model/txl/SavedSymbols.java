package moe4j.model.txl;

import java.io.IOException;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Map;
import java.util.Optional;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointInfo;
import moe4j.checkpoint.CheckpointStore;
import moe4j.data.stream.ByteVocabulary;
import moe4j.model.RunNotes;

/**
 * What a checkpoint tells of its symbols: the byte of each, and which corpus they were counted in.
 */
final class SavedSymbols {
  /** What refusals call the corpus, and where a checkpoint has its identity. */
  static final String CORPUS = "the data";

  private static final String VOCABULARY = "vocabulary";
  private static final String SYMBOLS = "symbols";

  private SavedSymbols() {}

  /** A vocabulary as a checkpoint keeps it. */
  static Map<String, String> facts(ByteVocabulary vocabulary) {
    return Map.of(
        VOCABULARY, vocabulary.name(), SYMBOLS, HexFormat.of().formatHex(vocabulary.symbols()));
  }

  /**
   * The vocabulary that a checkpoint keeps.
   *
   * @return empty where it keeps none, as those of moe4j 0.1 do
   * @throws IllegalArgumentException where what it keeps is no vocabulary: one sentence
   */
  static Optional<ByteVocabulary> vocabulary(Checkpoint checkpoint) {
    Map<String, String> facts = RunNotes.FACTS.of(checkpoint.info());
    if (!facts.containsKey(SYMBOLS)) {
      return Optional.empty();
    }
    try {
      ByteVocabulary.Kind kind = ByteVocabulary.Kind.of(facts.getOrDefault(VOCABULARY, ""));
      byte[] symbols = HexFormat.of().parseHex(facts.get(SYMBOLS));
      return Optional.of(ByteVocabulary.of(kind, symbols));
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "checkpoint %s has symbols that cannot be used: %s"
              .formatted(checkpoint.directory(), e.getMessage()),
          e);
    }
  }

  /**
   * The identity of the corpus that a checkpoint was trained on. The best model's checkpoint of
   * moe4j 0.1 does not tell it, but the run's others do, in the directory that holds the best's.
   */
  static Optional<String> corpus(Checkpoint checkpoint) throws IOException {
    Optional<String> own = corpus(checkpoint.info());
    Path run = checkpoint.directory().toAbsolutePath().getParent().getParent();
    if (own.isPresent() || run == null) {
      return own;
    }
    return new CheckpointStore(run, -1)
        .newest()
        .flatMap(newest -> Optional.ofNullable(newest.run()))
        .flatMap(SavedSymbols::corpus);
  }

  private static Optional<String> corpus(CheckpointInfo checkpoint) {
    return Optional.ofNullable(RunNotes.PLACE.of(checkpoint).get(CORPUS));
  }
}
