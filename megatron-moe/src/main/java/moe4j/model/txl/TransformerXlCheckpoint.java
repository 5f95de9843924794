package moe4j.model.txl;

import java.io.IOException;
import moe4j.checkpoint.Checkpoint;
import moe4j.data.stream.ByteVocabulary;
import moe4j.model.ModelSpec;
import moe4j.model.ModelState;
import moe4j.model.SavedConfig;
import org.bytedeco.pytorch.Device;

/** A trained Transformer-XL out of a checkpoint, for use and not for training. */
final class TransformerXlCheckpoint {
  /** A tensor that every one of them has. */
  private static final String BIAS = "decoder.r_w_bias";

  private TransformerXlCheckpoint() {}

  /**
   * The model in the type that it was saved in; it has the training's memories, which another
   * number of rows leaves out.
   *
   * @param gate the command line's {@code --balance-strategy}, or null: a class of one's own that
   *     the checkpoint may name
   * @param vocabulary the symbols that it is to know
   * @throws IllegalArgumentException where it knows others, in one sentence
   */
  static TransformerXl model(
      Checkpoint checkpoint, String gate, ByteVocabulary vocabulary, Device device)
      throws IOException {
    checkVocabulary(checkpoint, vocabulary);
    ModelSpec spec = SavedConfig.of(checkpoint, gate).model("txl");
    TransformerXlConfig config = spec.flags(TransformerXlConfig.class);
    int rows =
        config.memLen() == 0
            ? 1
            : Math.toIntExact(checkpoint.tensor("memory.layers.0").shape().get(0));
    return ModelState.trained(
        checkpoint,
        BIAS,
        device,
        parameters -> new TransformerXlFamily().model(spec, vocabulary.size(), rows, parameters));
  }

  /** With clusters of symbols, each a tensor of its own, their sizes are checked in loading. */
  private static void checkVocabulary(Checkpoint checkpoint, ByteVocabulary vocabulary)
      throws IOException {
    if (!checkpoint.contains(BIAS)) {
      throw new IllegalArgumentException(
          "checkpoint %s is no Transformer-XL's".formatted(checkpoint.directory()));
    }
    String bias = "output_layer.bias";
    if (checkpoint.contains(bias) && checkpoint.tensor(bias).shape().get(0) != vocabulary.size()) {
      throw new IllegalArgumentException(
          "checkpoint %s knows %d symbols, and the data with --vocabulary %s have %d"
              .formatted(
                  checkpoint.directory(),
                  checkpoint.tensor(bias).shape().get(0),
                  vocabulary.name(),
                  vocabulary.size()));
    }
  }
}
