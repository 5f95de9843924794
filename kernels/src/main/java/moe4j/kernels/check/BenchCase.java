package moe4j.kernels.check;

import java.util.List;
import java.util.function.Function;
import java.util.function.Supplier;
import org.bytedeco.pytorch.Tensor;

/**
 * An operation to time in one shape.
 *
 * @param name what is computed, such as {@code LayerNorm, forward and backward}
 * @param shape of what goes in
 * @param cost what a round of it moves and computes
 * @param backward whether the gradients of all leaves are computed, too
 * @param operation makes the operation and its inputs
 */
public record BenchCase(
    String name,
    String shape,
    Cost cost,
    boolean backward,
    Function<BenchInputs, Operation> operation) {

  /**
   * What a round costs an implementation that reads each input and writes each result once.
   *
   * @param bytes how many are read and written
   * @param flops floating-point operations of its products; 0 where moving bytes takes the time
   */
  public record Cost(long bytes, double flops) {
    /** The cost of an operation that memory limits. */
    public static Cost bytes(long bytes) {
      return new Cost(bytes, 0);
    }

    /** The cost of an operation of products. */
    public static Cost flops(double flops) {
      return new Cost(0, flops);
    }
  }

  /**
   * An operation with its inputs.
   *
   * @param ours as a model calls it
   * @param reference the same in other operations; null where it is {@code ours} without kernels of
   *     moe4j's own, which is what {@code Kernels} chooses
   * @param leaves inputs that get a gradient
   */
  public record Operation(
      Supplier<List<Tensor>> ours, Supplier<List<Tensor>> reference, List<Tensor> leaves) {

    /** An operation whose reference is the same call without kernels of moe4j's own. */
    public static Operation of(Supplier<Tensor> ours, Tensor... leaves) {
      return new Operation(() -> List.of(ours.get()), null, List.of(leaves));
    }

    /** An operation beside another one that computes the same. */
    public static Operation beside(
        Supplier<Tensor> ours, Supplier<Tensor> reference, Tensor... leaves) {
      return new Operation(
          () -> List.of(ours.get()), () -> List.of(reference.get()), List.of(leaves));
    }
  }
}
