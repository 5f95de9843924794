package moe4j.moe.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import moe4j.kernels.dropout.Dropout;
import moe4j.moe.bench.LayerErrors.Parts;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Activation;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A layer in a longer type and in libtorch's operations, one expert after the other, with the
 * gradients of all that goes in. Each expert's are compared with the layer's own, which its weights
 * hold, and let go of.
 */
final class LayerReference {
  private final ScalarType type;
  private final Activation activation;
  private final Tensor hidden;
  private final Tensor upstream;
  private final Tensor output;
  private final Tensor hiddenGradient;
  private final List<LayerErrors.Figure> errors = new ArrayList<>();

  /**
   * A reference in fp32 for bf16, in fp64 for fp32.
   *
   * @param hidden [T, h]
   * @param upstream the output's gradient, [T, h]
   */
  LayerReference(Tensor hidden, Tensor upstream, Activation activation) {
    this.type = Tensors.dtype(hidden) == ScalarType.BFloat16 ? ScalarType.Float : ScalarType.Double;
    this.activation = activation;
    this.hidden = hidden.detach().to(type);
    this.upstream = upstream.detach().to(type);
    this.output = torch.zeros_like(this.hidden);
    this.hiddenGradient = torch.zeros_like(this.hidden);
  }

  /**
   * Computes the experts.
   *
   * @param given what tokens have chosen
   * @param weights the experts', stacked
   * @param drop of the activations, drawn by the places of the rows of all experts
   */
  void experts(GivenRoutes given, LayerWeights weights, Dropout drop) {
    long[] choices = Tensors.longs(given.choices());
    Routes routes = new Routes(given);
    Tensor factors = null;
    if (!drop.isNone()) {
      long[] shape = {choices.length, weights.fc2().size(2)};
      factors = drop.factors(Tensors.empty(type, hidden.device(), shape));
    }
    Map<String, Parts> parts = new LinkedHashMap<>();
    weights.byName().keySet().forEach(name -> parts.put(name, new Parts(name)));
    int row = 0;
    for (long e = 0; e < weights.fc1().size(0); e++) {
      long[] places = places(choices, e);
      int first = row;
      long number = e;
      Tensor all = factors;
      Scopes.run(
          () -> {
            LayerWeights gradients = weights.map(Tensor::grad).expert(number);
            if (places.length == 0) {
              gradients.byName().forEach((name, actual) -> parts.get(name).addZeros(actual));
            } else {
              Tensor own = all == null ? null : all.narrow(0, first, places.length);
              routes
                  .expert(leaves(weights.expert(number)), places, own)
                  .forEach(
                      (name, expected) ->
                          parts.get(name).add(gradients.byName().get(name), expected));
            }
          });
      row += places.length;
    }
    errors.add(error("routing weights", given.weights().grad().flatten(), routes.gradient));
    parts.values().forEach(each -> errors.add(each.byExpert()));
  }

  /** The places, among all choices in the tokens' order, of those that are an expert. */
  private static long[] places(long[] choices, long expert) {
    long[] found = new long[choices.length];
    int count = 0;
    for (int i = 0; i < choices.length; i++) {
      if (choices[i] == expert) {
        found[count++] = i;
      }
    }
    return Arrays.copyOf(found, count);
  }

  /** The way of tokens to an expert and back. */
  private final class Routes {
    private final long topk;
    private final Tensor weight;
    private final Tensor gradient;

    Routes(GivenRoutes given) {
      this.topk = given.choices().size(1);
      this.weight = given.weights().detach().to(type).flatten();
      this.gradient = torch.zeros_like(weight);
    }

    /** Adds an expert's part to the output and the gradients; returns those of its weights. */
    Map<String, Tensor> expert(LayerWeights weights, long[] places, Tensor factors) {
      long[] tokens = Arrays.stream(places).map(place -> place / topk).toArray();
      Tensor place = Tensors.of(places).to(hidden.device(), ScalarType.Long);
      Tensor token = Tensors.of(tokens).to(hidden.device(), ScalarType.Long);
      Tensor x = leaf(hidden.index_select(0, token));
      Tensor score = leaf(weight.index_select(0, place));
      Tensor y = new PlainMlp(weights, activation).apply(x, factors).mul(score.unsqueeze(1));
      back(y, upstream.index_select(0, token));
      try (NoGradGuard guard = new NoGradGuard()) {
        output.index_add_(0, token, y);
        hiddenGradient.index_add_(0, token, x.grad());
        gradient.index_copy_(0, place, score.grad());
      }
      return weights.map(Tensor::grad).byName();
    }
  }

  /**
   * Computes the expert that every token goes to.
   *
   * @param weights its own
   * @param gate [1, h], or null where it has none
   */
  void shared(LayerWeights weights, Tensor gate) {
    LayerWeights own = leaves(weights);
    Tensor x = leaf(hidden);
    Tensor factor = gate == null ? null : leaf(gate.detach().to(type));
    Tensor y = SharedMlp.apply(new PlainMlp(own, activation), factor, x);
    back(y, upstream);
    try (NoGradGuard guard = new NoGradGuard()) {
      output.add_(y);
      hiddenGradient.add_(x.grad());
    }
    Map<String, Tensor> expected = own.map(Tensor::grad).byName();
    weights
        .map(Tensor::grad)
        .byName()
        .forEach((name, actual) -> errors.add(error("shared " + name, actual, expected.get(name))));
    if (gate != null) {
      errors.add(error("shared gate", gate.grad(), factor.grad()));
    }
  }

  private LayerWeights leaves(LayerWeights weights) {
    return weights.map(t -> leaf(t.detach().to(type)));
  }

  private static Tensor leaf(Tensor value) {
    return value.detach().requires_grad_(true);
  }

  private static void back(Tensor y, Tensor gradient) {
    torch.backward(
        new TensorVector(y),
        new TensorVector(gradient),
        new BoolOptional(),
        false,
        new TensorVector());
  }

  private static LayerErrors.Figure error(String what, Tensor actual, Tensor expected) {
    Parts whole = new Parts(what);
    whole.add(actual, expected);
    return whole.atOnce();
  }

  /**
   * What was found, when all parts of the layer have been computed.
   *
   * @param actual the layer's output, [T, h]
   * @param gradient that of its input, [T, h]
   */
  LayerErrors against(Tensor actual, Tensor gradient) {
    List<LayerErrors.Figure> all = new ArrayList<>();
    all.add(error("output", actual, output));
    all.add(error("gradients: hidden", gradient, hiddenGradient));
    all.addAll(errors);
    return new LayerErrors(type == ScalarType.Float ? "fp32" : "fp64", all);
  }
}
