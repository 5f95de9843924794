package moe4j.model.txl;

import moe4j.config.FlagsBuilder;

/**
 * Builds the byte corpus that a Transformer-XL is trained on: a method for each component of {@link
 * CorpusFlags}, which says what they are.
 */
public interface CorpusFlagsBuilder extends FlagsBuilder<CorpusFlags> {
  CorpusFlagsBuilder data(String value);

  CorpusFlagsBuilder dataFile(String value);

  CorpusFlagsBuilder splitBytes(String value);

  CorpusFlagsBuilder vocabulary(String value);
}
