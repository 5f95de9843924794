package moe4j.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.parallel.Group;
import moe4j.tensor.Scopes;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Sums over the elements of a whole model, of which ranks have parts and copies: each element is
 * counted on one rank, and all ranks get the same bits.
 */
final class GlobalSums {
  private final Group world;
  private final Device device;
  private final List<Boolean> counted;

  /**
   * Sums over what the optimizer of a rank has.
   *
   * @param counted which of it is counted on this rank
   */
  GlobalSums(Group world, Device device, List<Boolean> counted) {
    this.world = world;
    this.device = device;
    this.counted = counted;
  }

  private List<Tensor> own(List<Tensor> all) {
    List<Tensor> own = new ArrayList<>();
    for (int i = 0; i < all.size(); i++) {
      if (counted.get(i)) {
        own.add(all.get(i));
      }
    }
    return own;
  }

  /** The sum of squares: fp64, a scalar. */
  Tensor squares(List<Tensor> all) {
    List<Tensor> own = own(all);
    return overRanks(own.isEmpty() ? zero() : TensorLists.squares(own));
  }

  /** The L2 norm of all masters, which may be made one after the other. It asks the device. */
  double normOfMasters(List<OptimizerState> states) {
    double[] squares = new double[1];
    Scopes.run(
        () -> {
          Tensor sum = zero();
          for (int i = 0; i < states.size(); i++) {
            if (counted.get(i)) {
              OptimizerState each = states.get(i);
              Scopes.run(() -> sum.add_(TensorLists.squares(List.of(each.master().detach()))));
            }
          }
          squares[0] = Tensors.item(overRanks(sum));
        });
    return Math.sqrt(squares[0]);
  }

  /** How many elements are zero: fp64, a scalar. */
  Tensor zeros(List<Tensor> all) {
    Tensor zeros = zero();
    own(all).forEach(g -> zeros.add_(g.eq(new Scalar(0)).sum()));
    return overRanks(zeros);
  }

  /** Adds the ranks' scalars up, in place. */
  Tensor overRanks(Tensor scalar) {
    world.allReduce(scalar, Group.Reduction.SUM).await();
    return scalar;
  }

  private Tensor zero() {
    return Tensors.zeros(ScalarType.Double, device);
  }
}
