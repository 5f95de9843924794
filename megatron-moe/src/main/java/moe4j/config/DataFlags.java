package moe4j.config;

import java.util.List;

/** The data that a model is trained on, by Megatron's flags. */
public record DataFlags(
    @Flag(help = "prefix of .bin/.idx files, or several, or weights and prefixes in turn")
        List<String> dataPath,
    @Flag(help = "the same, for training only") List<String> trainDataPath,
    @Flag(help = "the same, for validation only") List<String> validDataPath,
    @Flag(help = "the same, for testing only") List<String> testDataPath,
    @Flag(help = "file that holds what --data-path would") String dataArgsPath,
    @Flag(help = "JSON file with the lists train, valid and test") String perSplitDataArgsPath,
    @Flag(
            help = "shares of training, validation and test documents",
            otherwise = "969,30,1",
            idleBeside = "mock-data")
        String split,
    @Flag(help = "directory for index files", otherwise = "cache beside the data")
        String dataCachePath,
    @Flag(help = "made-up data, a third for each of training, validation and test")
        boolean mockData,
    @Flag(help = "tokenizer, by Megatron's names") String tokenizerType,
    @Flag(help = "file or directory of the tokenizer") String tokenizerModel,
    @Flag(help = "GPT-2's vocab.json") String vocabFile,
    @Flag(help = "GPT-2's merges.txt") String mergeFile,
    @Flag(help = "vocabulary of NullTokenizer, or of the data where there is no tokenizer")
        Integer vocabSize,
    @Flag(help = "a tokenizer.json's special tokens, such as a beginning of sentence, are left out")
        boolean tokenizerHfNoIncludeSpecialTokens,
    @Flag(help = "start positions anew after each end of document") boolean resetPositionIds,
    @Flag(help = "attend within a document only") boolean resetAttentionMask,
    @Flag(help = "no loss where the input is an end of document") boolean eodMaskLoss) {

  /** Checks which sources exclude each other. */
  public DataFlags {
    boolean perSplit =
        !trainDataPath.isEmpty() || !validDataPath.isEmpty() || !testDataPath.isEmpty();
    int sources =
        (dataPath.isEmpty() ? 0 : 1)
            + (perSplit ? 1 : 0)
            + (dataArgsPath == null ? 0 : 1)
            + (perSplitDataArgsPath == null ? 0 : 1)
            + (mockData ? 1 : 0);
    if (sources != 1) {
      throw new IllegalArgumentException(
          "one of --data-path, --train-data-path (with --valid-data-path, --test-data-path),"
              + " --data-args-path, --per-split-data-args-path and --mock-data is asked for, %d are given"
                  .formatted(sources));
    }
    if (split != null && (perSplit || perSplitDataArgsPath != null)) {
      throw new IllegalArgumentException("--split and paths for each split exclude each other");
    }
  }

  /** A builder whose values are the flags' defaults. */
  public static DataFlagsBuilder builder() {
    return Builders.of(DataFlags.class, DataFlagsBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public DataFlagsBuilder toBuilder() {
    return Builders.from(this, DataFlagsBuilder.class);
  }

  /**
   * The same tokenizer and rules on other data.
   *
   * @param paths as {@code --data-path}; empty keeps the data
   * @param shares as {@code --split}; null keeps them
   * @param cache as {@code --data-cache-path}; null keeps it
   */
  public DataFlags elsewhere(List<String> paths, String shares, String cache) {
    DataFlagsBuilder other = toBuilder();
    if (!paths.isEmpty()) {
      other.dataPath(paths).trainDataPath().validDataPath().testDataPath();
      other.dataArgsPath(null).perSplitDataArgsPath(null).mockData(false);
    }
    return other
        .split(shares == null ? split : shares)
        .dataCachePath(cache == null ? dataCachePath : cache)
        .build();
  }
}
