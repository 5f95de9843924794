package moe4j.parallel;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Ranks that are threads of one process, for tests of what a rank computes: what they communicate
 * is handed over in memory, summed in the ranks' order.
 */
public final class ThreadRanks {
  private static final long TIMEOUT_S = 60;

  /** What a rank does. */
  @FunctionalInterface
  public interface Body {
    /** Runs on a rank's own thread, in a scope of its own. */
    void run(Groups groups) throws Exception;
  }

  private final Map<List<Integer>, Meeting> meetings = new HashMap<>();

  private ThreadRanks() {}

  /** Has every rank of a layout run something; the first failure of any is thrown. */
  public static void run(Layout layout, boolean sequenceParallel, Body body) {
    ThreadRanks ranks = new ThreadRanks();
    Throwable[] failures = new Throwable[layout.world()];
    List<Thread> threads = new ArrayList<>();
    for (int r = 0; r < layout.world(); r++) {
      int rank = r;
      Groups groups = ranks.groups(layout, sequenceParallel, rank);
      threads.add(
          new Thread(
              () -> {
                try (PointerScope scope = new PointerScope()) {
                  body.run(groups);
                } catch (Throwable e) {
                  failures[rank] = e;
                  ranks.abandon();
                }
              },
              "rank-" + rank));
    }
    threads.forEach(Thread::start);
    try {
      for (Thread thread : threads) {
        thread.join();
      }
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
    Throwable first = null;
    for (int r = 0; r < failures.length; r++) {
      boolean followed = failures[r] instanceof RankLostException;
      if (failures[r] != null && (first == null || first instanceof RankLostException)) {
        first = followed && first != null ? first : failures[r];
      }
    }
    if (first instanceof Error error) {
      throw error;
    } else if (first != null) {
      throw new IllegalStateException(first.getMessage(), first);
    }
  }

  private Groups groups(Layout layout, boolean sequenceParallel, int r) {
    return new Groups(
        layout,
        sequenceParallel,
        group("world", java.util.stream.IntStream.range(0, layout.world()).boxed().toList(), r),
        group("tensor", layout.tensorRanks(r), r),
        group("data", layout.dataRanks(r), r),
        group("expert", layout.expertRanks(r), r),
        group("expertTensor", layout.expertTensorRanks(r), r),
        group("expertBlock", layout.expertBlockRanks(r), r),
        group("expertData", layout.expertDataRanks(r), r));
  }

  private synchronized Group group(String role, List<Integer> ranks, int rank) {
    if (ranks.size() == 1) {
      return Group.alone();
    }
    List<Integer> key = new ArrayList<>(ranks);
    key.add(role.hashCode());
    Meeting meeting = meetings.computeIfAbsent(key, k -> new Meeting(ranks.size()));
    return new Member(meeting, ranks.indexOf(rank));
  }

  private synchronized void abandon() {
    meetings.values().forEach(m -> m.abandoned = true);
    meetings.values().forEach(m -> m.barrier.reset());
  }

  /** Where the ranks of a group lay out what the others take. */
  private static final class Meeting {
    final CyclicBarrier barrier;
    final Tensor[] tensors;
    final long[][] rows;
    volatile boolean abandoned;

    Meeting(int size) {
      this.barrier = new CyclicBarrier(size);
      this.tensors = new Tensor[size];
      this.rows = new long[size][];
    }

    void meet() {
      if (abandoned) {
        throw new RankLostException("another rank failed", null);
      }
      try {
        barrier.await(TIMEOUT_S, TimeUnit.SECONDS);
      } catch (BrokenBarrierException | TimeoutException e) {
        throw new RankLostException("another rank failed or did not come", e);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  private record Member(Meeting meeting, int rank) implements Group {
    @Override
    public int size() {
      return meeting.tensors.length;
    }

    @Override
    public boolean isCapturable() {
      return false;
    }

    /** Lays a tensor out, takes from the others', and leaves when all have. */
    private Pending exchange(Tensor own, long[] rows, Runnable take) {
      if (!own.is_contiguous()) {
        throw new IllegalArgumentException("a tensor that is not contiguous");
      }
      try (PointerScope scope = new PointerScope();
          NoGradGuard guard = new NoGradGuard()) {
        meeting.tensors[rank] = own.detach().clone();
        meeting.rows[rank] = rows;
        meeting.meet();
        take.run();
        meeting.meet();
      }
      return Pending.NONE;
    }

    @Override
    public Pending allReduce(Tensor tensor, Reduction reduction) {
      return exchange(
          tensor,
          null,
          () -> {
            Tensor all = meeting.tensors[0].clone();
            for (int r = 1; r < size(); r++) {
              Tensor other = meeting.tensors[r];
              all = reduction == Reduction.SUM ? all.add(other) : torch.maximum(all, other);
            }
            tensor.copy_(all);
          });
    }

    @Override
    public Pending allGather(Tensor output, Tensor input) {
      return exchange(
          input,
          null,
          () -> {
            Tensor parts = output.view(-1);
            long n = input.numel();
            for (int r = 0; r < size(); r++) {
              parts.narrow(0, r * n, n).copy_(meeting.tensors[r].view(-1));
            }
          });
    }

    @Override
    public Pending reduceScatter(Tensor output, Tensor input) {
      return exchange(
          input,
          null,
          () -> {
            long n = output.numel();
            output.zero_();
            for (int r = 0; r < size(); r++) {
              output.view(-1).add_(meeting.tensors[r].view(-1).narrow(0, rank * n, n));
            }
          });
    }

    @Override
    public Pending allToAll(Tensor output, Tensor input, long[] outputRows, long[] inputRows) {
      return exchange(
          input,
          inputRows,
          () -> {
            long at = 0;
            for (int r = 0; r < size(); r++) {
              long from = 0;
              for (int p = 0; p < rank; p++) {
                from += meeting.rows[r][p];
              }
              long count = meeting.rows[r][rank];
              if (count != outputRows[r]) {
                throw new IllegalStateException(
                    "rank %d sends %d rows where %d are expected"
                        .formatted(r, count, outputRows[r]));
              }
              output.narrow(0, at, count).copy_(meeting.tensors[r].narrow(0, from, count));
              at += count;
            }
          });
    }

    @Override
    public Pending broadcast(Tensor tensor, int root) {
      return exchange(tensor, null, () -> tensor.copy_(meeting.tensors[root]));
    }
  }
}
