package moe4j.transformer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.CrossEntropy;
import moe4j.kernels.Gemm;
import moe4j.kernels.Scopes;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A GPT, dense or with experts: embeddings, layers, a last norm and the output layer (Radford et
 * al. 2019; in Megatron's order and names).
 */
public final class GptModel implements LanguageModel, AutoCloseable {
  /** The global name of the word embedding, [V, h]. */
  public static final String WORD_EMBEDDINGS = "embedding.word_embeddings.weight";

  private final TransformerConfig config;
  private final ParameterSet parameters;
  private final Tensor wordEmbeddings;
  private final Tensor positionEmbeddings;
  private final RotaryEmbedding rotary;
  private final List<TransformerLayer> layers = new ArrayList<>();
  private final Norm finalNorm;
  private final Tensor outputWeight;

  /**
   * Makes the model with its initial weights.
   *
   * @param vocabulary the padded vocabulary's size, V
   * @param feedForward makes each layer's feed-forward block
   * @param parameters an empty set, which takes the model's parameters
   */
  public GptModel(
      TransformerConfig config,
      int vocabulary,
      FeedForward.Factory feedForward,
      ParameterSet parameters) {
    this.config = config;
    this.parameters = parameters;
    ParameterScope root = parameters.root();
    long h = config.hiddenSize();
    double std = config.initMethodStd();
    ParameterScope embedding = root.child("embedding");
    this.wordEmbeddings = embedding.weight("word_embeddings.weight", std, vocabulary, h);
    this.positionEmbeddings =
        config.positionEmbeddingType().equals("learned_absolute")
            ? embedding.weight("position_embeddings.weight", std, config.maxPositionEmbeddings(), h)
            : null;
    this.rotary =
        config.positionEmbeddingType().equals("rope")
            ? new RotaryEmbedding(config, parameters.dtype(), parameters.device())
            : null;
    ParameterScope decoder = root.child("decoder");
    for (int i = 0; i < config.numLayers(); i++) {
      layers.add(new TransformerLayer(config, i, feedForward, decoder.child("layers." + i)));
    }
    this.finalNorm = new Norm(config, decoder.child("final_layernorm"), h);
    this.outputWeight =
        config.untieEmbeddingsAndOutputWeights()
            ? root.weight("output_layer.weight", std, vocabulary, h)
            : wordEmbeddings;
  }

  /** A dense model. */
  public static GptModel dense(TransformerConfig config, int vocabulary, ParameterSet parameters) {
    return new GptModel(config, vocabulary, (layer, scope) -> new Mlp(config, scope), parameters);
  }

  /** The model's shape. */
  public TransformerConfig config() {
    return config;
  }

  /**
   * Makes every layer's feed-forward block anew, with other parameters; the old ones are freed. An
   * optimizer of the model is made afterwards.
   */
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
    Tensor rows = hidden(batch, pass).flatten(0, 1);
    return CrossEntropy.linear(rows, outputWeight, batch.labels().flatten())
        .view(batch.labels().shape());
  }

  /** The logits of each token's successor, [B, S, V], in the model's type. */
  public Tensor logits(Batch batch, Pass pass) {
    return project(hidden(batch, pass));
  }

  /** The output layer: [..., h] to [..., V]. */
  public Tensor project(Tensor hidden) {
    return Gemm.linear(hidden, outputWeight, null);
  }

  /** The last layer's normalised output, [B, S, h]. */
  public Tensor hidden(Batch batch, Pass pass) {
    Residual residual = Residual.of(embed(batch, pass));
    Attention.Context context = context(batch);
    for (TransformerLayer layer : layers) {
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
    Tensor words = torch.embedding(wordEmbeddings, batch.tokens());
    if (positionEmbeddings != null) {
      Tensor places =
          batch.positions() == null
              ? positionEmbeddings.narrow(0, 0, sequence)
              : torch.embedding(positionEmbeddings, batch.positions());
      words = words.add(places);
    }
    return pass.dropout(words, config.hiddenDropout(), 0, Operation.EMBEDDING);
  }

  private Attention.Context context(Batch batch) {
    RotaryEmbedding.Angles angles =
        rotary == null ? null : rotary.at(batch.positions(), batch.tokens().size(1));
    return new Attention.Context(rotary, angles, allowed(batch.documents()));
  }

  /** Causal, and within a document. */
  private static Tensor allowed(Tensor documents) {
    if (documents == null) {
      return null;
    }
    Tensor same = documents.unsqueeze(2).eq(documents.unsqueeze(1));
    return same.to(ScalarType.Byte).tril().to(ScalarType.Bool).unsqueeze(1);
  }

  @Override
  public void close() {
    parameters.close();
  }
}
