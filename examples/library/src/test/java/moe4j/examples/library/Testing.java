package moe4j.examples.library;

import java.util.Random;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What the examples' tests have in common. */
final class Testing {
  private Testing() {}

  /** An empty set on the CPU. */
  static ParameterSet parameters() {
    return new ParameterSet(Seeds.seed(), ScalarType.Float, new Device("cpu"));
  }

  /** N(0, 1). */
  static Tensor normals(Random random, long... shape) {
    long size = 1;
    for (long n : shape) {
      size *= n;
    }
    return Tensors.of(Seeds.normals(random, Math.toIntExact(size)), shape);
  }

  /** Gives every parameter values that have an effect. */
  static void randomise(ParameterSet parameters, Random random) {
    try (NoGradGuard guard = new NoGradGuard()) {
      for (Parameter parameter : parameters.all()) {
        Tensor t = parameter.tensor();
        t.copy_(normals(random, t.shape()).mul_(new org.bytedeco.pytorch.Scalar(0.5)));
      }
    }
  }

  /** The parameter of a name. */
  static Tensor parameter(ParameterSet parameters, String name) {
    return parameters.all().stream()
        .filter(p -> p.name().equals(name))
        .findFirst()
        .orElseThrow(() -> new AssertionError("no parameter " + name))
        .tensor();
  }

  /** The same values in fp64, with a gradient of their own. */
  static Tensor exact(Tensor t) {
    return t.detach().to(ScalarType.Double).set_requires_grad(true);
  }

  /** A parameter in fp64, with a gradient of its own. */
  static Tensor exact(ParameterSet parameters, String name) {
    return exact(parameter(parameters, name));
  }

  static Pass training(long step) {
    return Pass.training(new StepRandom(Seeds.seed(), step, 0, 1));
  }
}
