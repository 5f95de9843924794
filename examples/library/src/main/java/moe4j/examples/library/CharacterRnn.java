package moe4j.examples.library;

import java.util.ArrayList;
import java.util.List;
import moe4j.model.LanguageModel;
import moe4j.transformer.Batch;
import moe4j.transformer.FeedForward;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Linear;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import moe4j.transformer.SplitVocabulary;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * A language model of characters without attention: each layer is a gated recurrent unit (Cho et
 * al. 2014) and a feed-forward block, dense or with experts, beside a residual. Each sample begins
 * with a state of zeros.
 */
public final class CharacterRnn implements LanguageModel {
  private final ParameterSet parameters;
  private final Tensor characters;
  private final List<Layer> layers = new ArrayList<>();

  /** A layer: {@code text} is W [3h, h] of what comes in, {@code state} U [3h, h] of the state. */
  private record Layer(Linear text, Linear state, FeedForward feedForward) {}

  /**
   * The model with its initial weights.
   *
   * @param feedForward makes each layer's feed-forward block
   * @param parameters an empty set, which takes the model's parameters
   */
  public CharacterRnn(
      LayerShape shape, int vocabulary, FeedForward.Factory feedForward, ParameterSet parameters) {
    this.parameters = parameters;
    int h = shape.hiddenSize();
    double std = shape.initMethodStd();
    this.characters = parameters.root().weight("characters.weight", std, vocabulary, h);
    for (int i = 0; i < shape.layers(); i++) {
      ParameterScope scope = parameters.root().child("layers." + i);
      layers.add(
          new Layer(
              new Linear(scope.child("text"), h, 3L * h, std, true),
              new Linear(scope.child("state"), h, 3L * h, std, false),
              feedForward.create(i, scope.child("mlp"))));
    }
  }

  @Override
  public ParameterSet parameters() {
    return parameters;
  }

  @Override
  public Tensor loss(Batch batch, Pass pass) {
    Tensor hidden = torch.embedding(characters, batch.tokens());
    for (Layer layer : layers) {
      Tensor states = states(layer, hidden);
      hidden = states.add(layer.feedForward().forward(states, pass));
    }
    return SplitVocabulary.loss(
        hidden, characters, batch.labels(), parameters.groups().tensor(), false);
  }

  /** The unit's states behind each character: [B, S, h], of the same. */
  private static Tensor states(Layer layer, Tensor x) {
    long h = x.size(2);
    Tensor ofText = layer.text().forward(x);
    Tensor state = torch.zeros_like(x.select(1, 0));
    TensorVector states = new TensorVector();
    for (long s = 0; s < x.size(1); s++) {
      Tensor a = ofText.select(1, s);
      Tensor b = layer.state().forward(state);
      Tensor gates = a.narrow(1, 0, 2 * h).add(b.narrow(1, 0, 2 * h)).sigmoid();
      Tensor reset = gates.narrow(1, 0, h);
      Tensor kept = gates.narrow(1, h, h);
      Tensor fresh = a.narrow(1, 2 * h, h).add(reset.mul(b.narrow(1, 2 * h, h))).tanh();
      state = fresh.add(kept.mul(state.sub(fresh)));
      states.push_back(state);
    }
    return torch.stack(states, 1);
  }
}
