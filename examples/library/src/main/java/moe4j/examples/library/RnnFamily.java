package moe4j.examples.library;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.zip.CRC32;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.Flags;
import moe4j.cost.Costs;
import moe4j.model.Datasets;
import moe4j.model.Evaluation;
import moe4j.model.LanguageModel;
import moe4j.model.ModelFamily;
import moe4j.model.ModelSpec;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.model.TrainState;
import moe4j.moe.Moe;
import moe4j.parallel.WorldEnvironment;
import moe4j.transformer.LayerShape;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;

/** Character RNNs: {@code --model rnn}. */
public final class RnnFamily implements ModelFamily {
  static final int BYTES = 256;

  /** The family; moe4j makes it, too. */
  public RnnFamily() {}

  // [family]
  @Override
  public String name() {
    return "rnn";
  }

  @Override
  public String title() {
    return "character RNN";
  }

  @Override
  public Class<? extends Record> modelFlags() {
    return RnnFlags.class;
  }

  @Override
  public Class<? extends Record> dataFlags() {
    return RnnText.class;
  }

  @Override
  public LayerShape layerShape(Record flags) {
    return ((RnnFlags) flags).layerShape();
  }

  @Override
  public int sequenceLength(Record flags) {
    return ((RnnFlags) flags).seqLength();
  }

  @Override
  public Costs costs(ModelSpec model, int vocabulary) {
    return RnnCosts.of(model.flags(RnnFlags.class), model.moe(), vocabulary);
  }

  @Override
  public LanguageModel model(ModelSpec model, int vocabulary, int rows, ParameterSet parameters) {
    LayerShape shape = model.layerShape();
    return new CharacterRnn(shape, vocabulary, Moe.feedForward(shape, model.moe()), parameters);
  }

  @Override
  public Task task(RunConfig run, WorldEnvironment environment) {
    return new Training(run);
  }

  // [/family]

  @Override
  public Evaluation evaluation(
      String directory, Checkpoint checkpoint, String gate, Flags.Parsed parsed, Device device)
      throws IOException {
    return new RnnEvaluation(directory, checkpoint, gate, device);
  }

  // [task]
  /** A run's data: nine tenths of the text to learn, the rest to be evaluated on. */
  private record Training(RunConfig run) implements Task {
    @Override
    public int vocabulary() {
      return BYTES;
    }

    @Override
    public Datasets datasets() throws IOException {
      return datasets(TrainState.start());
    }

    @Override
    public Datasets datasets(TrainState from) throws IOException {
      RnnText text = run.data(RnnText.class);
      int length = run.model().sequenceLength();
      long train = from.trainSamples(run.training());
      long valid = from.validationSamples(run.training());
      return new Datasets(
          text.samples(0, 0.9, length, train), text.samples(0.9, 1, length, valid), null);
    }

    @Override
    public LanguageModel model(int vocabulary, ParameterSet parameters) {
      int rows = run.training().microBatchSize();
      return run.family().model(run.model(), vocabulary, rows, parameters);
    }

    @Override
    public Map<String, String> place() throws IOException {
      CRC32 text = new CRC32();
      text.update(Files.readAllBytes(Path.of(run.data(RnnText.class).textFile())));
      return Map.of("--text-file", Long.toHexString(text.getValue()));
    }
  }

  // [/task]
}
