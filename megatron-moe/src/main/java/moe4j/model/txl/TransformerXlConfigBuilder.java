package moe4j.model.txl;

import java.util.List;
import moe4j.config.FlagsBuilder;

/**
 * Builds the shape of a Transformer-XL: a method for each component of {@link TransformerXlConfig},
 * which says what they are.
 */
public interface TransformerXlConfigBuilder extends FlagsBuilder<TransformerXlConfig> {
  TransformerXlConfigBuilder nLayer(int value);

  TransformerXlConfigBuilder nHead(int value);

  TransformerXlConfigBuilder dHead(int value);

  TransformerXlConfigBuilder dEmbed(Integer value);

  TransformerXlConfigBuilder dModel(int value);

  TransformerXlConfigBuilder dInner(int value);

  TransformerXlConfigBuilder tgtLen(int value);

  TransformerXlConfigBuilder extLen(int value);

  TransformerXlConfigBuilder memLen(int value);

  TransformerXlConfigBuilder sameLength(boolean value);

  TransformerXlConfigBuilder clampLen(int value);

  TransformerXlConfigBuilder preLnorm(boolean value);

  TransformerXlConfigBuilder notTied(boolean value);

  TransformerXlConfigBuilder adaptive(boolean value);

  TransformerXlConfigBuilder cutoffs(List<Integer> values);

  TransformerXlConfigBuilder cutoffs(Integer... values);

  TransformerXlConfigBuilder divVal(int value);

  TransformerXlConfigBuilder attnType(String value);

  TransformerXlConfigBuilder dropout(double value);

  TransformerXlConfigBuilder dropatt(double value);

  TransformerXlConfigBuilder init(String value);

  TransformerXlConfigBuilder initStd(double value);

  TransformerXlConfigBuilder projInitStd(double value);
}
