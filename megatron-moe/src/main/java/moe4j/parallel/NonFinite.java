package moe4j.parallel;

import java.util.ArrayList;
import java.util.List;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Finds the ranks on which there is a NaN or an infinity. */
public final class NonFinite {
  private NonFinite() {}

  /**
   * The ranks of a group whose own number is not finite. It asks the device, and all ranks call it.
   *
   * @param own this rank's number, a scalar
   */
  public static List<Integer> ranks(Group group, Tensor own) {
    List<Integer> ranks = new ArrayList<>();
    try (NoGradGuard guard = new NoGradGuard()) {
      Scopes.run(
          () -> {
            Tensor all = Tensors.zeros(ScalarType.Float, own.device(), group.size());
            all.select(0, group.rank()).copy_(own.isfinite().logical_not());
            group.allReduce(all, Group.Reduction.SUM).await();
            float[] flags = Tensors.floats(all);
            for (int rank = 0; rank < flags.length; rank++) {
              if (flags[rank] != 0) {
                ranks.add(rank);
              }
            }
          });
    }
    return ranks;
  }
}
