package moe4j.kernels.experts;

import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The routes of tokens that have each chosen k experts, sorted by expert, within an expert in their
 * own order. A choice that was dropped is not among them: after the last expert's end there are as
 * many routes that are not used.
 *
 * @param order int64 [T k], the choice that each sorted route is: token times k and which of its
 *     choices; -1 for a route that is not used
 * @param token int64 [T k], the token of each sorted route, -1 for one that is not used
 * @param slot int64 [T, k], the place of each choice among the sorted routes, -1 for a dropped one
 * @param offsets int32 [E], where each expert's routes end
 */
public record RouteSort(Tensor order, Tensor token, Tensor slot, Tensor offsets) {
  /** Choices a block sorts, and the most experts whose counts it holds, as in routing.cu. */
  private static final int CHUNK = 1024;

  private static final int MOST_EXPERTS = 512;
  private static final int THREADS = 256;
  private static final int SUM_THREADS = 1024;

  /**
   * Sorts the routes that tokens have chosen.
   *
   * @param expert the choices, int64 [T, k], each in [0, E), or negative where it was dropped; a
   *     larger one stops the device
   * @param experts E
   */
  public static RouteSort of(Tensor expert, int experts) {
    return Kernels.take(expert) && experts <= MOST_EXPERTS
        ? counted(expert.contiguous(), experts)
        : sorted(expert, experts);
  }

  private static RouteSort sorted(Tensor expert, int experts) {
    long k = expert.size(1);
    // What was dropped sorts as a last expert.
    Tensor flat = expert.flatten();
    Tensor dropped = flat.lt(new Scalar(0));
    flat = flat.masked_fill(dropped, new Scalar(experts));
    Tensor order = torch.argsort(flat, true, 0, false);
    Tensor slot = torch.empty_like(order);
    slot.scatter_(0, order, torch.arange(new Scalar(order.numel()), order.options()));
    Tensor zeros = Tensors.zeros(ScalarType.Long, expert.device(), experts + 1L);
    Tensor counts = zeros.scatter_add(0, flat, torch.ones_like(flat));
    Scalar none = new Scalar(-1);
    Tensor noRoute = dropped.index_select(0, order);
    return new RouteSort(
        order.masked_fill(noRoute, none),
        order.floor_divide(new Scalar(k)).masked_fill_(noRoute, none),
        slot.masked_fill_(dropped, none).view(expert.size(0), k),
        counts.narrow(0, 0, experts).cumsum(0).to(ScalarType.Int));
  }

  /** In three launches: counts by block, their sums, the places. */
  private static RouteSort counted(Tensor expert, int experts) {
    int size = Math.toIntExact(expert.numel());
    Launch.require(expert, "choices", ScalarType.Long, size);
    int blocks = (size + CHUNK - 1) / CHUNK;
    Tensor table = Tensors.empty(ScalarType.Int, expert.device(), experts + 1L, blocks);
    Tensor offsets = Tensors.zeros(ScalarType.Int, expert.device(), experts);
    Tensor order = Tensors.empty(ScalarType.Long, expert.device(), size);
    Tensor token = Launch.empty(order);
    Tensor slot = Launch.empty(expert);
    CudaKernel.of("experts/routing.cu", "count")
        .launch(blocks, THREADS, 0, expert, table, size, experts);
    CudaKernel.of("experts/routing.cu", "sums")
        .launch(blocks == 0 ? 0 : 1, SUM_THREADS, 0, table, offsets, blocks, experts);
    CudaKernel.of("experts/routing.cu", "places")
        .launch(
            blocks,
            THREADS,
            0,
            expert,
            table,
            order,
            token,
            slot,
            size,
            experts,
            Math.toIntExact(expert.size(1)));
    return new RouteSort(order, token, slot, offsets);
  }
}
