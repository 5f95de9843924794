package moe4j.transformer;

import java.util.List;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Groups;
import moe4j.parallel.Shard;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Where a layer makes its parameters: a prefix of their global names. A user's own layer takes a
 * scope, makes the parameters that it needs and keeps the tensors that it is given.
 */
public final class ParameterScope {
  private final ParameterSet set;
  private final String prefix;
  private final boolean partial;

  ParameterScope(ParameterSet set, String prefix) {
    this(set, prefix, false);
  }

  private ParameterScope(ParameterSet set, String prefix, boolean partial) {
    this.set = set;
    this.prefix = prefix;
    this.partial = partial;
  }

  /** The scope of a part: {@code child("mlp")} under {@code decoder.layers.0}. */
  public ParameterScope child(String name) {
    return new ParameterScope(set, prefix + name + ".", partial);
  }

  /**
   * The same scope for parameters that all tensor-parallel ranks hold, but of whose gradient each
   * rank computes only a part. Norms under sequence parallelism and routers are such: each rank has
   * a part of the tokens. The parts are summed before the update.
   */
  public ParameterScope partial() {
    return new ParameterScope(set, prefix, true);
  }

  /** This one where tokens are whole on every rank, {@link #partial} where they are sliced. */
  public ParameterScope partialWhereSliced() {
    return groups().slicesTokens() ? partial() : this;
  }

  /** The ranks among which the model is divided. */
  public Groups groups() {
    return set.groups();
  }

  /** The names' beginning, such as {@code decoder.layers.0.mlp.} */
  public String prefix() {
    return prefix;
  }

  /** A weight from N(0, std), with weight decay. */
  public Tensor weight(String name, double std, long... shape) {
    return weight(name, std, Shard.WHOLE, shape);
  }

  /**
   * This rank's part of such a weight.
   *
   * @param shape the whole's
   */
  public Tensor weight(String name, double std, Shard shard, long... shape) {
    return set.normal(slot(name, List.of(), shard, shape), std);
  }

  /** A bias: zeros, no weight decay. */
  public Tensor bias(String name, long... shape) {
    return bias(name, Shard.WHOLE, shape);
  }

  /**
   * This rank's part of a bias.
   *
   * @param shape the whole's
   */
  public Tensor bias(String name, Shard shard, long... shape) {
    return set.constant(slot(name, List.of(), shard, shape), 0);
  }

  /** A norm's gain: ones, no weight decay. */
  public Tensor gain(String name, long... shape) {
    return set.constant(slot(name, List.of(), Shard.WHOLE, shape), 1);
  }

  /** A norm's gain or a bias from N(mean, std), without weight decay. */
  public Tensor drawn(String name, double mean, double std, long... shape) {
    return set.normal(slot(name, List.of(), Shard.WHOLE, shape), mean, std);
  }

  /**
   * Weights of several experts, stacked.
   *
   * @param name such as {@code linear_fc1.weight}
   * @param range the experts
   * @param shard the part of each that this rank holds
   * @param shape one whole expert's
   * @return [experts, its part's shape...]; in checkpoints {@code local_experts.N.name} each
   */
  public Tensor expertWeights(
      String name, ExpertRange range, double std, Shard shard, long... shape) {
    return set.normal(slot(name, pieces(name, range), shard, shape), std);
  }

  /** Biases of several experts, stacked as {@link #expertWeights}. */
  public Tensor expertBiases(String name, ExpertRange range, Shard shard, long... shape) {
    return set.constant(slot(name, pieces(name, range), shard, shape), 0);
  }

  private ParameterSet.Slot slot(
      String name, List<String> pieces, Shard shard, long... globalShape) {
    return new ParameterSet.Slot(prefix + name, pieces, shard, globalShape, partial);
  }

  /**
   * A buffer: fp32 zeros that are saved with the parameters and not trained. Whoever made it
   * changes it in {@link #atStepEnd}.
   */
  public Tensor buffer(String name, long... shape) {
    return set.buffer(prefix + name, shape);
  }

  /**
   * State that is carried from step to step for each row of this rank's batch, in the parameters'
   * type; zeros at first. It is saved with the parameters, the rows of all data-parallel ranks one
   * after the other.
   *
   * @param shape the first dimension is this rank's rows
   */
  public Tensor carried(String name, long... shape) {
    return set.buffer(prefix + name, true, set.dtype(), shape);
  }

  /** fp32 zeros that last from micro-batch to micro-batch and are not saved: sums over a step. */
  public Tensor scratch(long... shape) {
    return set.scratch(prefix, ScalarType.Float, shape);
  }

  /** The same in the parameters' type, for what is carried from batch to batch and not saved. */
  public Tensor passing(long... shape) {
    return set.scratch(prefix, set.dtype(), shape);
  }

  /**
   * Has something done at the end of each step, after its update. The body must not ask the device
   * for values, because it is a part of captured graphs.
   *
   * @param body is given the optimizer's found-inf, an fp32 scalar: 1 where the step was skipped
   */
  public void atStepEnd(Consumer<Tensor> body) {
    set.atStepEnd(prefix, body);
  }

  private List<String> pieces(String name, ExpertRange range) {
    return IntStream.range(range.first(), range.first() + range.count())
        .mapToObj(i -> prefix + "local_experts." + i + "." + name)
        .toList();
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
