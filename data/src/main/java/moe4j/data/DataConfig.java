package moe4j.data;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * All that the datasets of a run depend on.
 *
 * @param source where the text comes from
 * @param samples how many samples are needed
 * @param seqLength {@code --seq-length}, tokens a sample
 * @param seed {@code --seed}, 0 to 2^32 - 1
 * @param rules what turns a text into a sample
 * @param tokenizer Megatron's unique identifiers of the tokenizer, in its order: {@code class},
 *     {@code tokenizer_path} and so on. They enter the names of cache files
 * @param cachePath {@code --data-cache-path}; null for Megatron's default, the directory {@code
 *     PREFIX/cache/GPTDataset_indices} beside each dataset, and none for blends
 */
public record DataConfig(
    DataSource source,
    SampleCounts samples,
    int seqLength,
    long seed,
    SampleRules rules,
    Map<String, Object> tokenizer,
    Path cachePath) {

  /**
   * @throws IllegalArgumentException if the sequence length is not positive
   */
  public DataConfig {
    if (seqLength < 1) {
      throw new IllegalArgumentException("--seq-length must be positive, but is " + seqLength);
    }
    tokenizer = new LinkedHashMap<>(tokenizer);
  }
}
