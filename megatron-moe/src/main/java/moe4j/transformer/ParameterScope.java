package moe4j.transformer;

import java.util.List;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Where a layer makes its parameters: a prefix of their global names. A layer of one's own takes
 * one, makes what it needs and keeps the tensors it is given.
 */
public final class ParameterScope {
  private final ParameterSet set;
  private final String prefix;

  ParameterScope(ParameterSet set, String prefix) {
    this.set = set;
    this.prefix = prefix;
  }

  /** The scope of a part: {@code child("mlp")} under {@code decoder.layers.0}. */
  public ParameterScope child(String name) {
    return new ParameterScope(set, prefix + name + ".");
  }

  /** What the names begin with: {@code decoder.layers.0.mlp.} */
  String prefix() {
    return prefix;
  }

  /** A weight from N(0, std), with weight decay. */
  public Tensor weight(String name, double std, long... shape) {
    return set.normal(prefix + name, List.of(), std, shape);
  }

  /** A bias: zeros, no weight decay. */
  public Tensor bias(String name, long... shape) {
    return set.constant(prefix + name, List.of(), 0, shape);
  }

  /** A norm's gain: ones, no weight decay. */
  public Tensor gain(String name, long... shape) {
    return set.constant(prefix + name, List.of(), 1, shape);
  }

  /**
   * Weights of several experts, stacked.
   *
   * @param name such as {@code linear_fc1.weight}
   * @param experts how many, the first dimension
   * @param shape one expert's
   * @return shape [experts, shape...]; in checkpoints {@code local_experts.N.name} each
   */
  public Tensor expertWeights(String name, int experts, double std, long... shape) {
    return set.normal(prefix + name, pieces(name, experts), std, stacked(experts, shape));
  }

  /** Biases of several experts, stacked as {@link #expertWeights}. */
  public Tensor expertBiases(String name, int experts, long... shape) {
    return set.constant(prefix + name, pieces(name, experts), 0, stacked(experts, shape));
  }

  /**
   * A buffer: fp32 zeros that are saved with the parameters, but trained by nobody. What updates it
   * does so in {@link #atStepEnd}.
   */
  public Tensor buffer(String name, long... shape) {
    return set.buffer(prefix + name, shape);
  }

  /** fp32 zeros that last from micro-batch to micro-batch and are not saved: sums over a step. */
  public Tensor scratch(long... shape) {
    return set.scratch(prefix, shape);
  }

  /**
   * Has something done at the end of each step, behind its update: on a device alone, as it is part
   * of a captured graph. It gets the optimizer's found-inf, fp32: 1 where the step was skipped.
   */
  public void atStepEnd(Consumer<Tensor> body) {
    set.atStepEnd(prefix, body);
  }

  private List<String> pieces(String name, int experts) {
    return IntStream.range(0, experts)
        .mapToObj(i -> prefix + "local_experts." + i + "." + name)
        .toList();
  }

  private static long[] stacked(int experts, long... shape) {
    long[] all = new long[shape.length + 1];
    all[0] = experts;
    System.arraycopy(shape, 0, all, 1, shape.length);
    return all;
  }

  /** The type that parameters have. */
  public ScalarType dtype() {
    return set.dtype();
  }

  /** Where parameters are. */
  public Device device() {
    return set.device();
  }
}
