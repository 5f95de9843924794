package moe4j.examples.library;

import java.io.IOException;
import java.util.List;
import java.util.Locale;
import moe4j.checkpoint.Checkpoint;
import moe4j.data.SampleDataset;
import moe4j.model.Evaluation;
import moe4j.model.LanguageModel;
import moe4j.model.ModelSpec;
import moe4j.model.ModelState;
import moe4j.model.SavedConfig;
import org.bytedeco.pytorch.Device;

/** A trained character RNN on the part of its text that it has not learnt. */
final class RnnEvaluation implements Evaluation {
  private static final int ROWS = 8;
  private static final int SAMPLES = 16;

  private final String directory;
  private final LanguageModel model;
  private final Samples samples;

  RnnEvaluation(String directory, Checkpoint checkpoint, String gate, Device device)
      throws IOException {
    this.directory = directory;
    SavedConfig saved = SavedConfig.of(checkpoint, gate);
    ModelSpec spec = saved.model();
    int length = spec.sequenceLength();
    SampleDataset text = saved.data(RnnText.class).samples(0.9, 1, length, SAMPLES);
    this.samples = new Samples("", text, SAMPLES, ROWS, length, length, false, false);
    this.model =
        ModelState.trained(
            checkpoint,
            "characters.weight",
            device,
            parameters -> spec.family().model(spec, RnnFamily.BYTES, ROWS, parameters));
  }

  @Override
  public LanguageModel model() {
    return model;
  }

  @Override
  public List<Samples> parts() {
    return List.of(samples);
  }

  @Override
  public List<String> end(List<Double> losses) {
    return List.of(
        String.format(
            Locale.ROOT, "%s | bits a character: %.4f", directory, losses.get(0) / Math.log(2)));
  }

  @Override
  public void close() {
    model.parameters().close();
  }
}
