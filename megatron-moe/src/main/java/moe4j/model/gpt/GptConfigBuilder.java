package moe4j.model.gpt;

import moe4j.config.FlagsBuilder;

/**
 * Builds the shape of a dense GPT: a method for each component of {@link GptConfig}, which says
 * what they are.
 */
public interface GptConfigBuilder extends FlagsBuilder<GptConfig> {
  GptConfigBuilder numLayers(int value);

  GptConfigBuilder hiddenSize(int value);

  GptConfigBuilder numAttentionHeads(int value);

  GptConfigBuilder seqLength(int value);

  GptConfigBuilder maxPositionEmbeddings(Integer value);

  GptConfigBuilder ffnHiddenSize(Integer value);

  GptConfigBuilder kvChannels(Integer value);

  GptConfigBuilder groupQueryAttention(boolean value);

  GptConfigBuilder numQueryGroups(int value);

  GptConfigBuilder positionEmbeddingType(String value);

  GptConfigBuilder rotaryBase(int value);

  GptConfigBuilder rotaryPercent(double value);

  GptConfigBuilder rotaryInterleaved(boolean value);

  GptConfigBuilder normalization(String value);

  GptConfigBuilder normEpsilon(double value);

  GptConfigBuilder swiglu(boolean value);

  GptConfigBuilder squaredRelu(boolean value);

  GptConfigBuilder relu(boolean value);

  GptConfigBuilder disableBiasLinear(boolean value);

  GptConfigBuilder addQkvBias(boolean value);

  GptConfigBuilder qkLayernorm(boolean value);

  GptConfigBuilder untieEmbeddingsAndOutputWeights(boolean value);

  GptConfigBuilder makeVocabSizeDivisibleBy(int value);

  GptConfigBuilder initMethodStd(double value);

  GptConfigBuilder attentionDropout(double value);

  GptConfigBuilder hiddenDropout(double value);
}
