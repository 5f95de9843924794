package moe4j.kernels.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The chunks of {@link FusedAdamW}'s slots in the order of their updates: first, in one part, those
 * that a step updates itself, then a part for each slot that is updated late.
 */
final class UpdateOrder implements AutoCloseable {
  private final Tensor chunks;

  /** Where each part begins, and where the last ends. */
  private final int[] starts;

  /**
   * An order.
   *
   * @param sizes the slots' elements
   * @param late the numbers of the slots that are updated late, in their order
   */
  UpdateOrder(long[] sizes, List<Integer> late, Device device) {
    List<Long> all = new ArrayList<>();
    for (int slot = 0; slot < sizes.length; slot++) {
      if (!late.contains(slot)) {
        add(slot, sizes[slot], all);
      }
    }
    this.starts = new int[late.size() + 2];
    for (int i = 0; i < late.size(); i++) {
      starts[i + 1] = all.size();
      add(late.get(i), sizes[late.get(i)], all);
    }
    starts[late.size() + 1] = all.size();
    this.chunks = Scopes.keep(() -> packed(all).to(device, ScalarType.Long));
  }

  /** Adds a slot's chunks to a list, each as the kernels read it. */
  static void add(int slot, long size, List<Long> to) {
    for (long chunk = 0; chunk * FusedAdamW.CHUNK < size; chunk++) {
      to.add((long) slot << 32 | chunk);
    }
  }

  static Tensor packed(List<Long> chunks) {
    return Tensors.of(chunks.stream().mapToLong(Long::longValue).toArray());
  }

  /** How many chunks a part has. */
  int count(int part) {
    return starts[part + 1] - starts[part];
  }

  /** A part's chunks. */
  Tensor part(int part) {
    return chunks.narrow(0, starts[part], count(part));
  }

  @Override
  public void close() {
    chunks.close();
  }
}
