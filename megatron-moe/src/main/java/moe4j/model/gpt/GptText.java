package moe4j.model.gpt;

import java.util.Arrays;
import moe4j.model.NextToken;
import moe4j.model.TextModel;
import moe4j.tensor.Tensors;
import moe4j.tokenizer.Tokenizer;
import moe4j.transformer.Batch;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A GPT that writes text: of a long one it sees the last {@code --seq-length} tokens.
 *
 * @param checkpoint is closed with it
 */
public record GptText(GptCheckpoint checkpoint) implements TextModel {

  @Override
  public Tokenizer tokenizer() {
    return checkpoint.tokenizer();
  }

  @Override
  public NextToken begin() {
    return new Window(checkpoint.model());
  }

  @Override
  public void close() {
    checkpoint.close();
  }

  /** The last tokens of a text, which the model reads anew for each that follows. */
  private static final class Window implements NextToken {
    private final GptModel model;
    private long[] seen = {};

    Window(GptModel model) {
      this.model = model;
    }

    @Override
    public float[] after(int... tokens) {
      long[] all = Arrays.copyOf(seen, seen.length + tokens.length);
      for (int i = 0; i < tokens.length; i++) {
        all[seen.length + i] = tokens[i];
      }
      int window = Math.min(all.length, model.config().seqLength());
      seen = Arrays.copyOfRange(all, all.length - window, all.length);
      try (PointerScope scope = new PointerScope();
          NoGradGuard guard = new NoGradGuard()) {
        Tensor input = Tensors.of(seen, 1, window).to(model.parameters().device(), ScalarType.Long);
        Batch batch = new Batch(input, null, null, null, null);
        Tensor last = model.hidden(batch, Pass.evaluation()).select(1, window - 1);
        return Tensors.floats(model.project(last));
      }
    }

    @Override
    public void close() {
      seen = new long[0];
    }
  }
}
