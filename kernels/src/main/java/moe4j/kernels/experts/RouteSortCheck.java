package moe4j.kernels.experts;

import java.util.Random;
import java.util.stream.IntStream;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Routes sorted by expert, against a sort in Java. */
public final class RouteSortCheck implements KernelCheck {
  @Override
  public String name() {
    return "routing";
  }

  @Override
  public void run(Comparison on) {
    run(on, 1, 1, 1, 1);
    run(on, 5, 2, 3, 3);
    run(on, 1024, 1, 512, 512);
    run(on, 1500, 8, 64, 64);
    // Experts that nobody chooses, and one that most do.
    run(on, 4099, 3, 200, 2);
    // Choices that were dropped, and nothing else.
    run(on, 700, 2, 512, 300, 3);
    run(on, 2050, 2, 7, 7, 2);
    run(on, 33, 2, 5, 5, 1);
  }

  private static void run(Comparison on, int tokens, int k, int experts, int chosen) {
    run(on, tokens, k, experts, chosen, 0);
  }

  /**
   * @param dropped one choice in so many is dropped, none where it is 0
   */
  private static void run(Comparison on, int tokens, int k, int experts, int chosen, int dropped) {
    Random random = new Random(on.seed() + tokens);
    int routes = tokens * k;
    long[] expert = new long[routes];
    long[] ends = new long[experts];
    for (int i = 0; i < routes; i++) {
      expert[i] = random.nextInt(random.nextInt(10) == 0 ? experts : chosen);
      if (dropped > 0 && random.nextInt(dropped) == 0) {
        expert[i] = -1L - random.nextInt(2);
      } else {
        ends[(int) expert[i]]++;
      }
    }
    for (int e = 1; e < experts; e++) {
      ends[e] += ends[e - 1];
    }
    // A stream's sort is stable.
    long[] order =
        IntStream.range(0, routes)
            .boxed()
            .sorted((a, b) -> Long.compareUnsigned(expert[a], expert[b]))
            .mapToLong(i -> i)
            .toArray();
    long[] token = new long[routes];
    long[] slot = new long[routes];
    for (int r = 0; r < routes; r++) {
      int choice = (int) order[r];
      boolean none = expert[choice] < 0;
      slot[choice] = none ? -1 : r;
      token[r] = none ? -1 : choice / k;
      order[r] = none ? -1 : choice;
    }
    Tensor given = Tensors.of(expert, tokens, k).to(on.device(), ScalarType.Long);
    RouteSort sorted = RouteSort.of(given, experts);
    String what =
        "routing T=%d k=%d E=%d%s: "
            .formatted(
                tokens, k, experts, dropped == 0 ? "" : " 1 of %d dropped".formatted(dropped));
    on.same(what + "order", sorted.order(), Tensors.of(order));
    on.same(what + "token", sorted.token(), Tensors.of(token));
    on.same(what + "slot", sorted.slot(), Tensors.of(slot, tokens, k));
    on.same(what + "offsets", sorted.offsets(), Tensors.of(ends));
  }
}
