package moe4j.transformer;

import moe4j.model.gpt.GptConfig;

/** Megatron's initial distributions: N(0, std), and N(0, std / sqrt(2 L)) into the residual. */
public final class Initial {
  private Initial() {}

  /** The standard deviation of projections whose output joins the residual. */
  public static double outputStd(GptConfig config) {
    return config.initMethodStd() / Math.sqrt(2.0 * config.numLayers());
  }
}
