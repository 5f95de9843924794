package moe4j.model.gpt;

import java.io.IOException;
import java.util.List;
import moe4j.checkpoint.Checkpoint;
import moe4j.model.SavedConfig;
import moe4j.model.Upcycled;
import moe4j.moe.MoeConfig;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;

/**
 * A dense GPT's checkpoint that is to have experts.
 *
 * @param moe the experts' flags, with what follows from the dense model
 */
record UpcycledGpt(Checkpoint checkpoint, Upcycling upcycling, MoeConfig moe) implements Upcycled {

  /**
   * Checks that it can be.
   *
   * @throws IllegalArgumentException where it cannot: one sentence
   */
  static UpcycledGpt of(Checkpoint checkpoint, Upcycling upcycling) {
    GptConfig dense = SavedConfig.of(checkpoint, null).model("gpt").flags(GptConfig.class);
    return new UpcycledGpt(checkpoint, upcycling, upcycling.flags(dense));
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
        upcycling.model(dense, parameters);
      } catch (RuntimeException e) {
        parameters.close();
        throw e;
      }
      return new Model(parameters, dense.parameters().elements());
    }
  }
}
