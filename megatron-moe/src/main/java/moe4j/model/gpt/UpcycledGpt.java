package moe4j.model.gpt;

import java.io.IOException;
import java.util.List;
import moe4j.checkpoint.Checkpoint;
import moe4j.model.SavedConfig;
import moe4j.model.Upcycled;
import moe4j.model.Upcycling;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;

/**
 * A dense GPT's checkpoint that is to have experts.
 *
 * @param moe the experts' flags, with what follows from the dense model
 */
record UpcycledGpt(Checkpoint checkpoint, Upcycling upcycling, MoeConfig moe) implements Upcycled {
  /** What a GPT calls the hidden size of its feed-forward blocks. */
  private static final String FFN = "ffn-hidden-size";

  /**
   * Checks that it can be.
   *
   * @throws IllegalArgumentException where it cannot: one sentence
   */
  static UpcycledGpt of(Checkpoint checkpoint, Upcycling upcycling) {
    GptConfig dense = SavedConfig.of(checkpoint, null).model("gpt").flags(GptConfig.class);
    return new UpcycledGpt(checkpoint, upcycling, upcycling.flags(dense.layerShape(), FFN));
  }

  /**
   * Makes the model with experts; the dense one stays as it is.
   *
   * @param parameters an empty set, which takes the new model's; its seed is the routers'
   * @throws IllegalArgumentException where that is not possible: one sentence
   */
  static GptModel model(GptModel dense, Upcycling upcycling, ParameterSet parameters) {
    GptConfig config = dense.config();
    MoeConfig flags = upcycling.flags(config.layerShape(), FFN);
    int vocabulary = Math.toIntExact(words(dense).size(0));
    GptModel model =
        new GptModel(config, vocabulary, Moe.feedForward(config.layerShape(), flags), parameters);
    upcycling.fill(parameters, dense.parameters(), config.activation());
    return model;
  }

  private static Tensor words(GptModel model) {
    return model.parameters().all().stream()
        .filter(parameter -> parameter.name().equals(GptModel.WORD_EMBEDDINGS))
        .findFirst()
        .orElseThrow()
        .tensor();
  }

  @Override
  public List<String> notes() {
    return upcycling.notes();
  }

  @Override
  public Model make(Device device) throws IOException {
    try (GptModel dense = GptCheckpoint.model(checkpoint, null, device)) {
      ParameterSet parameters =
          new ParameterSet(checkpoint.info().seed(), dense.parameters().dtype(), device);
      try {
        model(dense, upcycling, parameters);
      } catch (RuntimeException e) {
        parameters.close();
        throw e;
      }
      return new Model(parameters, dense.parameters().elements());
    }
  }
}
