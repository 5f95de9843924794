package moe4j.transformer;

import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Small models, and tensors to try them on. */
public final class Models {
  private Models() {}

  /** A configuration of the flags that are not the same for every test. */
  public static GptConfig config(String flags) {
    return Flags.parse(GptConfig.class, Refusals.words(flags));
  }

  /** An empty set on the CPU. */
  public static ParameterSet parameters(ScalarType dtype) {
    return new ParameterSet(Seeds.seed(), dtype, new Device("cpu"));
  }

  /** Gives every parameter values that have an effect: norms around 1, biases around 0. */
  public static void randomise(ParameterSet parameters, Random random, double std) {
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      for (Parameter parameter : parameters.all()) {
        Tensor t = parameter.tensor();
        double mean = parameter.name().endsWith("norm.weight") ? 1 : 0;
        float[] values = Seeds.normals(random, Math.toIntExact(t.numel()));
        for (int i = 0; i < values.length; i++) {
          values[i] = (float) (mean + std * values[i]);
        }
        t.copy_(Tensors.of(values, t.shape()));
      }
    }
  }

  /** The parameter of a name. */
  public static Tensor parameter(ParameterSet parameters, String name) {
    return parameters.all().stream()
        .filter(p -> p.name().equals(name))
        .findFirst()
        .orElseThrow(() -> new AssertionError("no parameter " + name))
        .tensor();
  }

  /** N(0, 1), fp32. */
  public static Tensor normals(Random random, long... shape) {
    long size = 1;
    for (long n : shape) {
      size *= n;
    }
    return Tensors.of(Seeds.normals(random, Math.toIntExact(size)), shape);
  }

  /** Token ids. */
  public static Tensor tokens(Random random, int vocabulary, long rows, long columns) {
    return Tensors.of(random.longs(rows * columns, 0, vocabulary).toArray(), rows, columns);
  }
}
