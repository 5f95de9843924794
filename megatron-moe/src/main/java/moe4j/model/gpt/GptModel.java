package moe4j.model.gpt;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.product.Gemm;
import moe4j.model.LanguageModel;
import moe4j.parallel.Group;
import moe4j.parallel.Mappings;
import moe4j.parallel.Shard;
import moe4j.tensor.Scopes;
import moe4j.transformer.Attention;
import moe4j.transformer.Batch;
import moe4j.transformer.FeedForward;
import moe4j.transformer.FeedForwardPlaces;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Mlp;
import moe4j.transformer.Norm;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import moe4j.transformer.Residual;
import moe4j.transformer.RotaryEmbedding;
import moe4j.transformer.SequenceContext;
import moe4j.transformer.SequenceMixer;
import moe4j.transformer.SplitVocabulary;
import moe4j.transformer.TransformerLayer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * A GPT, dense or with experts: embeddings, layers, a last norm and the output layer (Radford et
 * al. 2019; in Megatron's order and names). Of a model that is divided among ranks this is one
 * rank's part, as the parameter set's groups say.
 */
public final class GptModel implements LanguageModel, FeedForwardPlaces, AutoCloseable {
  /** The global name of the word embedding, [V, h]. */
  public static final String WORD_EMBEDDINGS = "embedding.word_embeddings.weight";

  private final GptConfig config;
  private final ParameterSet parameters;
  private final Group tensor;
  private final Group slices;
  private final Tensor wordEmbeddings;
  private final Tensor positionEmbeddings;
  private final RotaryEmbedding rotary;
  private final List<TransformerLayer<SequenceContext>> layers = new ArrayList<>();
  private final Norm finalNorm;
  private final Tensor outputWeight;

  /**
   * Makes the model with Megatron's attention and its initial weights.
   *
   * @param vocabulary the padded vocabulary's size, V
   * @param feedForward makes each layer's feed-forward block
   * @param parameters an empty set, which takes the model's parameters
   */
  public GptModel(
      GptConfig config, int vocabulary, FeedForward.Factory feedForward, ParameterSet parameters) {
    this(config, vocabulary, attention(config), feedForward, parameters);
  }

  /**
   * Makes the model with its initial weights.
   *
   * @param vocabulary the padded vocabulary's size, V
   * @param mixer makes what each layer has as attention
   * @param feedForward makes each layer's feed-forward block
   * @param parameters an empty set, which takes the model's parameters
   */
  public GptModel(
      GptConfig config,
      int vocabulary,
      SequenceMixer.Factory<SequenceContext> mixer,
      FeedForward.Factory feedForward,
      ParameterSet parameters) {
    this.config = config;
    this.parameters = parameters;
    this.tensor = parameters.groups().tensor();
    this.slices = parameters.groups().tokenSlices();
    ParameterScope root = parameters.root();
    long h = config.hiddenSize();
    double std = config.initMethodStd();
    Shard rows = Shard.of(tensor, 0);
    ParameterScope embedding = root.child("embedding");
    this.wordEmbeddings = embedding.weight("word_embeddings.weight", std, rows, vocabulary, h);
    this.positionEmbeddings =
        config.positionEmbeddingType().equals("learned_absolute")
            ? embedding
                .partialWhereSliced()
                .weight("position_embeddings.weight", std, config.maxPositionEmbeddings(), h)
            : null;
    this.rotary =
        config.positionEmbeddingType().equals("rope")
            ? new RotaryEmbedding(config.rotary(), parameters.dtype(), parameters.device())
            : null;
    ParameterScope decoder = root.child("decoder");
    TransformerLayer.Form form =
        new TransformerLayer.Form(config.hiddenSize(), config.norm(), config.hiddenDropout());
    for (int i = 0; i < config.numLayers(); i++) {
      layers.add(new TransformerLayer<>(form, i, mixer, feedForward, decoder.child("layers." + i)));
    }
    this.finalNorm =
        new Norm(config.norm(), decoder.partialWhereSliced().child("final_layernorm"), h);
    this.outputWeight =
        config.untieEmbeddingsAndOutputWeights()
            ? root.weight("output_layer.weight", std, rows, vocabulary, h)
            : wordEmbeddings;
  }

  /** A dense model. */
  public static GptModel dense(GptConfig config, int vocabulary, ParameterSet parameters) {
    LayerShape shape = config.layerShape();
    return new GptModel(
        config, vocabulary, (layer, scope) -> new Mlp(shape, layer, scope), parameters);
  }

  private static SequenceMixer.Factory<SequenceContext> attention(GptConfig config) {
    LayerShape shape = config.layerShape();
    Attention.Form form = config.attention();
    return (layer, scope) -> new Attention(shape, form, layer, scope);
  }

  /** The model's shape. */
  public GptConfig config() {
    return config;
  }

  @Override
  public LayerShape layerShape() {
    return config.layerShape();
  }

  @Override
  public void replaceFeedForward(FeedForward.Factory feedForward) {
    for (int i = 0; i < layers.size(); i++) {
      ParameterScope mlp = parameters.root().child("decoder").child("layers." + i).child("mlp");
      parameters.remove(mlp.prefix());
      layers.get(i).replaceFeedForward(feedForward.create(i, mlp));
    }
  }

  @Override
  public ParameterSet parameters() {
    return parameters;
  }

  @Override
  public Tensor loss(Batch batch, Pass pass) {
    return SplitVocabulary.loss(
        hidden(batch, pass), outputWeight, batch.labels(), tensor, !slices.isAlone());
  }

  /** The logits of each token's successor, [B, S, V], in the model's type; of a whole model. */
  public Tensor logits(Batch batch, Pass pass) {
    return project(hidden(batch, pass));
  }

  /** The output layer: [..., h] to [..., V]; of a whole model. */
  public Tensor project(Tensor hidden) {
    if (!tensor.isAlone()) {
      throw new IllegalStateException("this rank has a part of the vocabulary's logits only");
    }
    return Gemm.linear(hidden, outputWeight, null);
  }

  /** The last layer's normalised output, [B, S, h], S this rank's part where tokens are sliced. */
  public Tensor hidden(Batch batch, Pass pass) {
    Residual residual = Residual.of(embed(batch, pass));
    SequenceContext context = SequenceContext.of(batch, rotary);
    for (TransformerLayer<SequenceContext> layer : layers) {
      Residual input = residual;
      // A scope a layer: what autograd does not keep is freed here, not after the backward.
      residual = Scopes.compute(() -> layer.forward(input, context, pass), Residual::tensors);
      input.close();
    }
    Residual last = residual;
    Tensor hidden = Scopes.compute(() -> finalNorm.forward(last).normed());
    last.close();
    return hidden;
  }

  private Tensor embed(Batch batch, Pass pass) {
    long sequence = batch.tokens().size(1);
    if (sequence > config.maxPositionEmbeddings()) {
      throw new IllegalArgumentException(
          "a sequence of %d tokens, --max-position-embeddings is %d"
              .formatted(sequence, config.maxPositionEmbeddings()));
    }
    Tensor own = SplitVocabulary.embedding(wordEmbeddings, batch.tokens(), tensor);
    Tensor words =
        slices.isAlone() ? Mappings.reduce(own, tensor) : Mappings.reduceScatter(own, slices);
    if (positionEmbeddings != null) {
      words = words.add(places(batch));
    }
    return pass.chance()
        .slice(slices)
        .dropout(config.hiddenDropout(), 0, Operation.EMBEDDING)
        .apply(words);
  }

  /** What is learned of the places of this rank's tokens. */
  private Tensor places(Batch batch) {
    long sequence = batch.tokens().size(1);
    if (batch.positions() == null && slices.isAlone()) {
      return positionEmbeddings.narrow(0, 0, sequence);
    }
    Tensor positions =
        batch.positions() == null
            ? torch
                .arange(new Scalar(sequence), batch.tokens().options())
                .expand(batch.tokens().shape())
            : batch.positions();
    return torch.embedding(positionEmbeddings, Mappings.own(positions, slices));
  }

  @Override
  public void close() {
    parameters.close();
  }
}
