package moe4j.model.txl;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import moe4j.model.LanguageModel;
import moe4j.tensor.Scopes;
import moe4j.transformer.Batch;
import moe4j.transformer.FeedForward;
import moe4j.transformer.FeedForwardPlaces;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import moe4j.transformer.SequenceMixer;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Transformer-XL (Dai et al. 2019), dense or with experts. It goes through a batch's columns
 * segment by segment and carries what its layers have computed from each to the next: its memories,
 * which every forward replaces, in memory of fixed addresses. A batch tells by its positions where
 * in the columns it is, and so how much of the memories there is: nothing at an epoch's start. What
 * stands in front of a column and behind its end is padding, which no expert is told of.
 */
public final class TransformerXl implements LanguageModel, FeedForwardPlaces {
  private final Weights weights;
  private final TransformerXlConfig.Lengths lengths;
  private final List<Tensor> memories;
  private final Tensor sinusoids;

  /** What models with other lengths share. */
  private record Weights(
      TransformerXlConfig config,
      ParameterSet parameters,
      SymbolEmbedding embedding,
      SymbolSoftmax softmax,
      List<TransformerXlLayer> layers) {}

  private TransformerXl(
      Weights weights, TransformerXlConfig.Lengths lengths, List<Tensor> memories) {
    this(weights, lengths, memories, sinusoids(weights, lengths));
  }

  private TransformerXl(
      Weights weights,
      TransformerXlConfig.Lengths lengths,
      List<Tensor> memories,
      Tensor sinusoids) {
    this.weights = weights;
    this.lengths = lengths;
    this.memories = memories;
    this.sinusoids = sinusoids;
  }

  private static Tensor sinusoids(Weights weights, TransformerXlConfig.Lengths lengths) {
    ParameterScope scope = weights.parameters().root().child("positions");
    Tensor sinusoids = scope.passing(lengths.keys(), weights.config().dModel());
    SinusoidPositions.fill(sinusoids, lengths.clamp());
    return sinusoids;
  }

  /**
   * Makes the model with its initial weights, and memories for the training's batch, which are
   * saved with it.
   *
   * @param vocabulary V
   * @param rows columns of the batch on this rank, B
   * @param feedForward makes each layer's feed-forward block
   * @param parameters an empty set, which takes the model's parameters
   */
  public static TransformerXl create(
      TransformerXlConfig config,
      int vocabulary,
      int rows,
      FeedForward.Factory feedForward,
      ParameterSet parameters) {
    return create(
        config,
        vocabulary,
        rows,
        decoder -> RelativeSelfAttention.factory(config, decoder),
        feedForward,
        parameters);
  }

  /**
   * The same with another mixer in the attention's place, which sees the memory.
   *
   * @param mixer makes what makes each layer's mixer, given the scope of what layers share
   */
  public static TransformerXl create(
      TransformerXlConfig config,
      int vocabulary,
      int rows,
      Function<ParameterScope, SequenceMixer.Factory<SegmentContext>> mixer,
      FeedForward.Factory feedForward,
      ParameterSet parameters) {
    ParameterScope root = parameters.root();
    SymbolEmbedding embedding = new SymbolEmbedding(config, vocabulary, root.child("embedding"));
    SymbolSoftmax softmax =
        new SymbolSoftmax(config, vocabulary, embedding, root.child("output_layer"));
    ParameterScope decoder = root.child("decoder");
    SequenceMixer.Factory<SegmentContext> mixers = mixer.apply(decoder);
    List<TransformerXlLayer> layers = new ArrayList<>();
    for (int i = 0; i < config.nLayer(); i++) {
      layers.add(
          new TransformerXlLayer(config, i, mixers, feedForward, decoder.child("layers." + i)));
    }
    List<Tensor> memories = new ArrayList<>();
    for (int i = 0; config.memLen() > 0 && i < config.nLayer(); i++) {
      memories.add(
          root.child("memory").carried("layers." + i, rows, config.memLen(), config.dModel()));
    }
    return new TransformerXl(
        new Weights(config, parameters, embedding, softmax, layers), config.lengths(), memories);
  }

  /**
   * The same weights with other lengths and memories of their own, for an evaluation. The memories
   * live as long as the parameters.
   *
   * @param rows columns of its batch on this rank
   */
  public TransformerXl with(TransformerXlConfig.Lengths other, int rows) {
    List<Tensor> own = new ArrayList<>();
    for (int i = 0; other.memory() > 0 && i < weights.layers().size(); i++) {
      own.add(
          weights
              .parameters()
              .root()
              .child("evaluation")
              .passing(rows, other.memory(), weights.config().dModel()));
    }
    return new TransformerXl(weights, other, own);
  }

  /**
   * The same for a segment of fewer positions, behind the same memories: for a text whose end is
   * not known. It lives as long as the scope that it is made in.
   */
  TransformerXl shorter(int target) {
    TransformerXlConfig.Lengths fewer =
        new TransformerXlConfig.Lengths(
            target, lengths.extended(), lengths.memory(), lengths.same(), lengths.clamp());
    return new TransformerXl(weights, fewer, memories, sinusoids.narrow(0, 0, fewer.keys()));
  }

  /**
   * What may come behind a segment, which becomes the memory of the next.
   *
   * @param batch with positions and a loss mask
   * @return the logarithms of the symbols' probabilities, fp32 [B, V]
   */
  Tensor next(Batch batch, Pass pass) {
    Tensor hidden = hidden(batch, pass);
    return weights.softmax().logProbabilities(hidden.select(1, hidden.size(1) - 1));
  }

  /** The model's shape. */
  public TransformerXlConfig config() {
    return weights.config();
  }

  /** How far it looks. */
  public TransformerXlConfig.Lengths lengths() {
    return lengths;
  }

  /** What each layer remembers, [B, M, h]: of what it has been given, the last M positions. */
  public List<Tensor> memories() {
    return memories;
  }

  @Override
  public LayerShape layerShape() {
    return weights.config().layerShape();
  }

  @Override
  public void replaceFeedForward(FeedForward.Factory feedForward) {
    for (int i = 0; i < weights.layers().size(); i++) {
      ParameterScope mlp = parameters().root().child("decoder").child("layers." + i).child("mlp");
      parameters().remove(mlp.prefix());
      weights.layers().get(i).replaceFeedForward(feedForward.create(i, mlp));
    }
  }

  @Override
  public ParameterSet parameters() {
    return weights.parameters();
  }

  /**
   * The losses of a segment, which becomes the memory of the next.
   *
   * @param batch with positions, and a loss mask of 0 behind a column's end alone; of the {@code
   *     ext + tgt} of each row the last tgt have a loss
   * @return fp32 [B, ext + tgt], 0 for the first ext
   */
  @Override
  public Tensor loss(Batch batch, Pass pass) {
    Tensor hidden = hidden(batch, pass);
    long rows = hidden.size(0);
    long extended = lengths.extended();
    long target = hidden.size(1) - extended;
    Tensor predicting = hidden.narrow(1, extended, target).flatten(0, 1);
    Tensor labels = batch.labels().narrow(1, extended, target).flatten();
    Tensor losses = weights.softmax().loss(predicting, labels).view(rows, target);
    if (extended == 0) {
      return losses;
    }
    Tensor none = torch.zeros(new long[] {rows, extended}, losses.options());
    return torch.cat(new TensorVector(none, losses), 1);
  }

  /** The last layer's output, [B, Q, h]. */
  private Tensor hidden(Batch batch, Pass given) {
    check(batch);
    Pass pass = given.padded(padding(batch));
    TransformerXlConfig config = weights.config();
    Segment segment =
        new Segment(
            lengths,
            pass.chance()
                .common()
                .dropout(config.dropout(), 0, Operation.POSITIONS)
                .apply(sinusoids),
            first(batch.positions()),
            pass);
    Tensor hidden =
        pass.dropout(
            weights.embedding().forward(batch.tokens()), config.dropout(), 0, Operation.EMBEDDING);
    for (int i = 0; i < weights.layers().size(); i++) {
      Tensor input = hidden;
      int layer = i;
      // A scope a layer: what autograd does not keep is freed here, not after the backward.
      hidden = Scopes.compute(() -> layer(layer, input, segment));
      input.close();
    }
    return pass.dropout(hidden, config.dropout(), weights.layers().size() + 1, Operation.OUTPUT);
  }

  private Tensor layer(int number, Tensor input, Segment segment) {
    Tensor memory = lengths.memory() == 0 ? null : memories.get(number);
    Tensor output = weights.layers().get(number).forward(input, memory, segment);
    if (memory != null) {
      remember(memory, input.detach());
    }
    return output;
  }

  /**
   * Keeps the last positions before those that the next segment computes again. What is not finite
   * is forgotten: it would be in every step to come, also where this one is skipped.
   *
   * @param input [B, Q, h], what the layer was given
   */
  private void remember(Tensor memory, Tensor input) {
    try (NoGradGuard guard = new NoGradGuard()) {
      long target = lengths.target();
      long kept = lengths.memory() - target;
      DoubleOptional zero = new DoubleOptional(0.0);
      if (kept <= 0) {
        Tensor last = input.narrow(1, -kept, lengths.memory());
        torch.nan_to_num_out(memory, last, zero, zero, zero);
        return;
      }
      Tensor older = memory.narrow(1, target, kept).clone();
      Tensor newer = input.narrow(1, 0, target);
      memory.narrow(1, 0, kept).copy_(older);
      memory.narrow(1, kept, target).copy_(newer.nan_to_num(zero, zero, zero));
    }
  }

  /**
   * What is no symbol of a column: positions before its start, among those that are computed again,
   * and of the others those without a loss. Symbols that are computed again are text like all, as
   * in upstream's segments.
   */
  private Tensor padding(Batch batch) {
    Tensor silent = batch.lossMask().eq(new Scalar(0));
    long extended = lengths.extended();
    if (extended == 0) {
      return silent;
    }
    Tensor before = batch.positions().narrow(1, 0, extended).lt(new Scalar(0));
    Tensor behind = silent.narrow(1, extended, lengths.target());
    return torch.cat(new TensorVector(before, behind), 1);
  }

  /** The first key there is: those before a column's start are not. */
  private Tensor first(Tensor positions) {
    return positions
        .select(0, 0)
        .narrow(0, 0, 1)
        .neg()
        .add(new Scalar((long) lengths.memory()))
        .clamp_min(new Scalar(0))
        .to(ScalarType.Int);
  }

  private void check(Batch batch) {
    if (batch.positions() == null) {
      throw new IllegalArgumentException("a batch without positions: memories need them");
    }
    if (batch.tokens().size(1) != lengths.queries()) {
      throw new IllegalArgumentException(
          "segments of %d positions, where the model takes %d and %d computed again"
              .formatted(batch.tokens().size(1), lengths.target(), lengths.extended()));
    }
    long rows = memories.isEmpty() ? batch.tokens().size(0) : memories.get(0).size(0);
    if (batch.tokens().size(0) != rows) {
      throw new IllegalArgumentException(
          "a batch of %d columns, where there are memories of %d"
              .formatted(batch.tokens().size(0), rows));
    }
  }
}
