package moe4j.examples.library;

import java.util.ArrayList;
import java.util.List;
import moe4j.model.LanguageModel;
import moe4j.moe.Moe;
import moe4j.transformer.Activation;
import moe4j.transformer.Batch;
import moe4j.transformer.FeedForward;
import moe4j.transformer.FeedForwardPlaces;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Norm;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import moe4j.transformer.Residual;
import moe4j.transformer.SequenceContext;
import moe4j.transformer.SplitVocabulary;
import moe4j.transformer.TransformerLayer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** A language model without attention, whose layers have places for experts. */
public final class OwnLanguageModel implements LanguageModel, FeedForwardPlaces {
  private static final LayerShape SHAPE = LayerShape.of(2, 32, 64, Activation.GELU, 0.1);
  private static final Norm.Form NORM = new Norm.Form(Norm.Kind.RMS_NORM, 1e-5);

  private final ParameterSet parameters;
  private final Tensor words;
  private final List<TransformerLayer<SequenceContext>> layers = new ArrayList<>();
  private final Norm norm;

  /**
   * A dense model.
   *
   * @param parameters an empty set, which takes the model's parameters
   */
  public OwnLanguageModel(int vocabulary, ParameterSet parameters) {
    this.parameters = parameters;
    ParameterScope root = parameters.root();
    int h = SHAPE.hiddenSize();
    this.words = root.weight("words.weight", SHAPE.initMethodStd(), vocabulary, h);
    TransformerLayer.Form form = new TransformerLayer.Form(h, NORM, 0);
    for (int i = 0; i < SHAPE.layers(); i++) {
      layers.add(
          new TransformerLayer<>(
              form, i, (n, scope) -> new CausalMean(h, scope), denseFeedForward(), layer(i)));
    }
    this.norm = new Norm(NORM, root.child("norm"), h);
  }

  @Override
  public ParameterSet parameters() {
    return parameters;
  }

  @Override
  public Tensor loss(Batch batch, Pass pass) {
    SequenceContext context = SequenceContext.of(batch, null);
    Residual x = Residual.of(torch.embedding(words, batch.tokens()));
    for (TransformerLayer<SequenceContext> layer : layers) {
      x = layer.forward(x, context, pass);
    }
    Tensor hidden = norm.forward(x).normed();
    return SplitVocabulary.loss(hidden, words, batch.labels(), parameters.groups().tensor(), false);
  }

  // [places]
  @Override
  public LayerShape layerShape() {
    return SHAPE;
  }

  @Override
  public void replaceFeedForward(FeedForward.Factory feedForward) {
    for (int i = 0; i < layers.size(); i++) {
      ParameterScope mlp = layer(i).child("mlp");
      parameters.remove(mlp.prefix());
      layers.get(i).replaceFeedForward(feedForward.create(i, mlp));
    }
  }

  private ParameterScope layer(int number) {
    return parameters.root().child("layers." + number);
  }

  // [/places]

  // [fmoefy]
  /** The model with eight experts in each layer. */
  public static OwnLanguageModel withExperts(int vocabulary, ParameterSet parameters) {
    return Moe.fmoefy(new OwnLanguageModel(vocabulary, parameters), 8);
  }
  // [/fmoefy]
}
