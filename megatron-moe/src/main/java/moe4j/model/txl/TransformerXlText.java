package moe4j.model.txl;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import moe4j.data.stream.ByteVocabulary;
import moe4j.model.NextToken;
import moe4j.model.TextModel;
import moe4j.tensor.Tensors;
import moe4j.tokenizer.Tokenizer;
import moe4j.transformer.Batch;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A Transformer-XL that writes text. It reads each symbol once: a text that it is given in segments
 * as long as the training's, and then symbol by symbol what it writes, behind a memory as long as
 * what the last symbol of a training segment sees. What it has computed of a symbol is never
 * computed again.
 */
final class TransformerXlText implements TextModel {
  private final TransformerXl trained;
  private final SymbolTokenizer tokenizer;
  private final TransformerXlConfig.Lengths lengths;

  /** Models with memories that no text uses any more: memories live as long as the parameters. */
  private final Deque<TransformerXl> idle = new ArrayDeque<>();

  /**
   * A model for texts.
   *
   * @param trained its parameters are closed with it
   * @param vocabulary that it was trained with
   */
  TransformerXlText(TransformerXl trained, ByteVocabulary vocabulary) {
    this.trained = trained;
    this.tokenizer = new SymbolTokenizer(vocabulary);
    this.lengths = lengths(trained.config().lengths());
  }

  private static TransformerXlConfig.Lengths lengths(TransformerXlConfig.Lengths training) {
    int seen = training.same() ? training.memory() : training.memory() + training.queries() - 1;
    return new TransformerXlConfig.Lengths(
        training.target(), 0, seen, training.same(), training.clamp());
  }

  @Override
  public Tokenizer tokenizer() {
    return tokenizer;
  }

  @Override
  public NextToken begin() {
    TransformerXl free = idle.poll();
    return new Text(free == null ? trained.with(lengths, 1) : free);
  }

  @Override
  public void close() {
    trained.parameters().close();
  }

  /** A text, of which the model remembers the end. */
  private final class Text implements NextToken {
    private final TransformerXl model;
    private long read;

    Text(TransformerXl model) {
      this.model = model;
    }

    @Override
    public float[] after(int... tokens) {
      float[] next = null;
      for (int from = 0; from < tokens.length; from += lengths.target()) {
        int to = Math.min(tokens.length, from + lengths.target());
        next = after(Arrays.stream(tokens, from, to).asLongStream().toArray());
      }
      if (next == null) {
        throw new IllegalArgumentException("no symbol behind which another may come");
      }
      return next;
    }

    private float[] after(long[] segment) {
      int n = segment.length;
      float[] real = new float[n];
      long[] positions = new long[n];
      for (int i = 0; i < n; i++) {
        real[i] = 1;
        positions[i] = read + i;
      }
      read += n;
      Device device = model.parameters().device();
      try (PointerScope scope = new PointerScope();
          NoGradGuard guard = new NoGradGuard()) {
        Tensor symbols = Tensors.of(segment, 1, n).to(device, ScalarType.Long);
        Batch batch =
            new Batch(
                symbols,
                symbols,
                Tensors.of(real, 1, n).to(device, ScalarType.Float),
                Tensors.of(positions, 1, n).to(device, ScalarType.Long),
                null);
        return Tensors.floats(model.shorter(n).next(batch, Pass.evaluation()));
      }
    }

    @Override
    public void close() {
      idle.add(model);
    }
  }
}
