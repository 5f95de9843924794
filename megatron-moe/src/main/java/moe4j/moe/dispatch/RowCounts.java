package moe4j.moe.dispatch;

import java.util.Arrays;
import moe4j.kernels.cuda.CudaGraph;
import moe4j.moe.gate.Routing;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How many rows go from which rank to which expert: known to the host where every expert is padded,
 * asked of the device else.
 *
 * <p>Ranks that hold a copy of the experts together are numbered as in {@link
 * moe4j.parallel.Layout}: {@code etp + ETP ep}. Rank (ep, etp) sends to (e's rank, etp), so a rank
 * gets from its peers of the same etp, and those that share its experts get the rest.
 */
final class RowCounts {
  /** Of each rank of the block to each expert; null where all numbers are {@code each}. */
  private final long[] table;

  private final long each;
  private final int experts;
  private final Group expert;
  private final Group expertTensor;
  private final ExpertRange own;

  private RowCounts(long[] table, long each, int experts, Groups groups) {
    this.table = table;
    this.each = each;
    this.experts = experts;
    this.expert = groups.expert();
    this.expertTensor = groups.expertTensor();
    this.own = ExpertRange.of(experts, groups.expert());
  }

  /** What all ranks of a block have routed. */
  static RowCounts of(Routing routing, int experts, Groups groups) {
    if (routing.experts() != experts) {
      throw new IllegalArgumentException(
          "the gate routes to %d experts, but the layer has %d"
              .formatted(routing.experts(), experts));
    }
    if (routing.capacity() > 0) {
      return new RowCounts(null, routing.capacity(), experts, groups);
    }
    if (CudaGraph.isCapturing()) {
      throw new IllegalStateException(AllToAll.ASKS);
    }
    Group block = groups.expertBlock();
    Tensor sizes = routing.sizes();
    Tensor all = Tensors.empty(ScalarType.Long, sizes.device(), (long) block.size() * experts);
    block.allGather(all, sizes).await();
    return new RowCounts(Tensors.longs(all), 0, experts, groups);
  }

  /** Rows from a rank to an expert. */
  private long rows(int ep, int etp, int toExpert) {
    return table == null ? each : table[(ep * expertTensor.size() + etp) * experts + toExpert];
  }

  /** Rows from a rank to the experts of the ranks (to, ...). */
  private long rowsTo(int ep, int etp, int to) {
    long sum = 0;
    for (int e = to * own.count(); e < (to + 1) * own.count(); e++) {
      sum += rows(ep, etp, e);
    }
    return sum;
  }

  /**
   * Which ranks this one sends to or gets from in a part: those whose distance, upwards or
   * downwards, lies within bounds.
   *
   * @param direction 1 for those it sends to, -1 for those it gets from
   */
  boolean[] peers(int part, int parts, int direction) {
    int n = expert.size();
    boolean[] peers = new boolean[n];
    for (int distance = part * n / parts; distance < (part + 1) * n / parts; distance++) {
      peers[Math.floorMod(expert.rank() + direction * distance, n)] = true;
    }
    return peers;
  }

  /** Rows that this rank sends to each of some peers. */
  long[] sent(boolean[] to) {
    long[] rows = new long[to.length];
    for (int p = 0; p < rows.length; p++) {
      rows[p] = to[p] ? rowsTo(expert.rank(), expertTensor.rank(), p) : 0;
    }
    return rows;
  }

  /** Rows that a rank of this one's experts gets of each of some peers. */
  long[] got(boolean[] from, int etp) {
    long[] rows = new long[from.length];
    for (int s = 0; s < rows.length; s++) {
      rows[s] = from[s] ? rowsTo(s, etp, expert.rank()) : 0;
    }
    return rows;
  }

  /** Rows that each of the ranks of this one's experts gets of some peers. */
  long[] gathered(boolean[] from) {
    long[] rows = new long[expertTensor.size()];
    for (int t = 0; t < rows.length; t++) {
      rows[t] = Arrays.stream(got(from, t)).sum();
    }
    return rows;
  }

  /**
   * How what has arrived of some peers is sorted by expert, within one by the rank it came from.
   *
   * @param weight [R], as it has arrived
   */
  Routing sorted(boolean[] from, Tensor weight) {
    return table == null ? sortedEvenly(from, weight) : sortedByTable(from, weight);
  }

  private Routing sortedEvenly(boolean[] from, Tensor weight) {
    long sources = 0;
    for (boolean peer : from) {
      sources += peer ? 1 : 0;
    }
    return Routing.ofChunks(weight, expertTensor.size(), sources, own.count(), each);
  }

  private Routing sortedByTable(boolean[] from, Tensor weight) {
    int t = expertTensor.size();
    int local = own.count();
    // Where each chunk begins, in the order of arrival.
    long[][][] starts = new long[local][from.length][t];
    long rows = 0;
    for (int etp = 0; etp < t; etp++) {
      for (int s = 0; s < from.length; s++) {
        for (int e = 0; e < local && from[s]; e++) {
          starts[e][s][etp] = rows;
          rows += rows(s, etp, own.first() + e);
        }
      }
    }
    long[] order = new long[Math.toIntExact(rows)];
    long[] place = new long[order.length];
    long[] ends = new long[local];
    int at = 0;
    for (int e = 0; e < local; e++) {
      for (int s = 0; s < from.length; s++) {
        for (int etp = 0; etp < t && from[s]; etp++) {
          long count = rows(s, etp, own.first() + e);
          for (long i = 0; i < count; i++) {
            long row = starts[e][s][etp] + i;
            place[(int) row] = at;
            order[at++] = row;
          }
        }
      }
      ends[e] = at;
    }
    Device device = weight.device();
    return Routing.ofOrder(
        weight, onDevice(order, device), onDevice(place, device), onDevice(ends, device), 0);
  }

  private static Tensor onDevice(long[] values, Device device) {
    return values.length == 0
        ? Tensors.empty(ScalarType.Long, device, 0)
        : Tensors.of(values).to(device, ScalarType.Long);
  }
}
