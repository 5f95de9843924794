package moe4j.model.gpt;

import java.io.IOException;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.StoredTensor;
import moe4j.config.DataFlags;
import moe4j.model.ModelSpec;
import moe4j.model.ModelState;
import moe4j.model.SavedConfig;
import moe4j.tokenizer.Tokenizer;
import org.bytedeco.pytorch.Device;

/**
 * A trained model out of a checkpoint, for use and not for training.
 *
 * @param model in the type it was saved in
 * @param tokenizer the one the flags name, as its files are now
 * @param data the flags it was trained with, the tokenizer's among them
 * @param iteration steps it was trained for
 */
public record GptCheckpoint(GptModel model, Tokenizer tokenizer, DataFlags data, long iteration)
    implements AutoCloseable {
  /**
   * A checkpoint's model with its tokenizer.
   *
   * @param gate the command line's {@code --balance-strategy}, or null: a class of one's own that
   *     the checkpoint may name
   * @param device where the model is to be
   * @throws IllegalArgumentException where the tokenizer has ids that the model has no rows for, or
   *     the checkpoint is no GPT's: one sentence
   * @throws IOException in one sentence, where checkpoint or tokenizer cannot be read
   */
  static GptCheckpoint of(Checkpoint checkpoint, String gate, Device device) throws IOException {
    DataFlags data = SavedConfig.of(checkpoint, gate).data(DataFlags.class);
    long rows = embedding(checkpoint).shape().get(0);
    Tokenizer tokenizer = GptTask.tokenizer(data);
    if (tokenizer.vocabSize() > rows) {
      throw new IllegalArgumentException(
          "the tokenizer has %d ids, but checkpoint %s has embeddings for %d: it was trained with another tokenizer"
              .formatted(tokenizer.vocabSize(), checkpoint.directory(), rows));
    }
    GptModel model = model(checkpoint, gate, device);
    return new GptCheckpoint(model, tokenizer, data, checkpoint.info().iteration());
  }

  /**
   * A checkpoint's model, in the type it was saved in.
   *
   * @param gate the command line's {@code --balance-strategy}, or null: a class of one's own that
   *     the checkpoint may name
   * @throws IllegalArgumentException where the checkpoint is no GPT's, or differs from its own
   *     configuration: one sentence
   * @throws IOException in one sentence, where it cannot be read
   */
  public static GptModel model(Checkpoint checkpoint, String gate, Device device)
      throws IOException {
    ModelSpec spec = SavedConfig.of(checkpoint, gate).model("gpt");
    int rows = Math.toIntExact(embedding(checkpoint).shape().get(0));
    return ModelState.trained(
        checkpoint,
        GptModel.WORD_EMBEDDINGS,
        device,
        parameters -> new GptFamily().model(spec, rows, 1, parameters));
  }

  private static StoredTensor embedding(Checkpoint checkpoint) throws IOException {
    return checkpoint.tensor(GptModel.WORD_EMBEDDINGS);
  }

  @Override
  public void close() {
    model.close();
  }
}
