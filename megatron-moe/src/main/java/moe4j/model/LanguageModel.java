package moe4j.model;

import moe4j.transformer.Batch;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/** What the training loop trains: something with parameters and a loss for each token. */
public interface LanguageModel {
  /** The model's parameters. */
  ParameterSet parameters();

  /**
   * The loss of each token, against its label.
   *
   * @return fp32 [B, S], not yet masked
   */
  Tensor loss(Batch batch, Pass pass);
}
