package moe4j.moe.bench;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import moe4j.kernels.dropout.Draw;
import moe4j.kernels.experts.ExpertMlp;
import moe4j.kernels.experts.RoutedMlp;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * The weights of a layer's experts, stacked, or of one, without the first dimension.
 *
 * @param fc1 [E, inputs f, h]
 * @param bias1 [E, inputs f], or null
 * @param fc2 [E, h, f]
 * @param bias2 [E, h], or null
 */
record LayerWeights(Tensor fc1, Tensor bias1, Tensor fc2, Tensor bias2) {
  private static final List<String> NAMES = List.of("fc1", "bias1", "fc2", "bias2");

  /**
   * The weights that a scope holds.
   *
   * @param prefix the scope's, such as {@code experts.}
   */
  static LayerWeights of(ParameterSet parameters, String prefix) {
    return new LayerWeights(
        named(parameters, prefix + "linear_fc1.weight"),
        named(parameters, prefix + "linear_fc1.bias"),
        named(parameters, prefix + "linear_fc2.weight"),
        named(parameters, prefix + "linear_fc2.bias"));
  }

  /** Whether products of moe4j's own compute so many rows with these. */
  boolean areTaken(Tensor hidden, long rows) {
    ExpertMlp.Weights all = new ExpertMlp.Weights(fc1, bias1, fc2, bias2);
    return RoutedMlp.take(hidden, all) && RoutedMlp.isFaster(rows, all);
  }

  /** The same tensors, each made into another. */
  LayerWeights map(UnaryOperator<Tensor> change) {
    return new LayerWeights(
        change.apply(fc1),
        bias1 == null ? null : change.apply(bias1),
        change.apply(fc2),
        bias2 == null ? null : change.apply(bias2));
  }

  /** One expert's. */
  LayerWeights expert(long number) {
    return map(stacked -> stacked.select(0, number));
  }

  /** Those that there are, by name. */
  Map<String, Tensor> byName() {
    Map<String, Tensor> present = new LinkedHashMap<>();
    List<Tensor> all = Arrays.asList(fc1, bias1, fc2, bias2);
    for (int i = 0; i < all.size(); i++) {
      if (all.get(i) != null) {
        present.put(NAMES.get(i), all.get(i));
      }
    }
    return present;
  }

  /** A parameter's tensor, or null. */
  static Tensor named(ParameterSet parameters, String name) {
    List<Tensor> found =
        parameters.all().stream()
            .filter(parameter -> parameter.name().equals(name))
            .map(Parameter::tensor)
            .toList();
    return found.isEmpty() ? null : found.get(0);
  }

  /**
   * Fills parameters that hold no values yet with numbers from N(0, std), biases among them, where
   * they are: a GPU draws faster than the host.
   */
  static void fill(ParameterSet parameters, long seed, double std) {
    for (int number = 0; number < parameters.all().size(); number++) {
      Tensor all = parameters.all().get(number).tensor();
      boolean stacked = all.dim() == 3;
      for (long piece = 0; piece < (stacked ? all.size(0) : 1); piece++) {
        StepRandom random = new StepRandom(seed, piece, 0, 1);
        long at = piece;
        int layer = number;
        Scopes.run(
            () -> {
              try (NoGradGuard guard = new NoGradGuard()) {
                Tensor part = stacked ? all.select(0, at) : all;
                part.copy_(Draw.normal(random, part, layer, 0).mul_(new Scalar(std)));
              }
            });
      }
    }
  }
}
