package moe4j.config;

import java.util.List;

/**
 * Builds what a model is trained on: a method for each component of {@link DataFlags}, which says
 * what they are.
 */
public interface DataFlagsBuilder extends FlagsBuilder<DataFlags> {
  DataFlagsBuilder dataPath(List<String> values);

  DataFlagsBuilder dataPath(String... values);

  DataFlagsBuilder trainDataPath(List<String> values);

  DataFlagsBuilder trainDataPath(String... values);

  DataFlagsBuilder validDataPath(List<String> values);

  DataFlagsBuilder validDataPath(String... values);

  DataFlagsBuilder testDataPath(List<String> values);

  DataFlagsBuilder testDataPath(String... values);

  DataFlagsBuilder dataArgsPath(String value);

  DataFlagsBuilder perSplitDataArgsPath(String value);

  DataFlagsBuilder split(String value);

  DataFlagsBuilder dataCachePath(String value);

  DataFlagsBuilder mockData(boolean value);

  DataFlagsBuilder tokenizerType(String value);

  DataFlagsBuilder tokenizerModel(String value);

  DataFlagsBuilder vocabFile(String value);

  DataFlagsBuilder mergeFile(String value);

  DataFlagsBuilder vocabSize(Integer value);

  DataFlagsBuilder tokenizerHfNoIncludeSpecialTokens(boolean value);

  DataFlagsBuilder resetPositionIds(boolean value);

  DataFlagsBuilder resetAttentionMask(boolean value);

  DataFlagsBuilder eodMaskLoss(boolean value);
}
