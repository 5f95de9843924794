package moe4j.checkpoint;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Threads as ranks. */
final class ThreadRanks {
  private final CyclicBarrier barrier;
  private final byte[][] told;

  private ThreadRanks(int size) {
    this.barrier = new CyclicBarrier(size);
    this.told = new byte[size][];
  }

  /** What a rank does. */
  interface Body<T> {
    T run(Ranks ranks) throws Exception;
  }

  /** A rank that dies: its thread ends here, and the others' exchange throws. */
  static final class Death extends Error {
    private static final long serialVersionUID = 1;
  }

  /** What became of a rank: its result, or what it threw. */
  record Outcome<T>(T result, Throwable failure) {}

  /** Runs a body on so many ranks and returns what became of each. */
  static <T> List<Outcome<T>> run(int size, Body<T> body) throws InterruptedException {
    ThreadRanks group = new ThreadRanks(size);
    ExecutorService threads = Executors.newFixedThreadPool(size);
    try {
      List<Future<T>> futures = new ArrayList<>();
      for (int rank = 0; rank < size; rank++) {
        Ranks ranks = group.new Rank(rank);
        futures.add(threads.submit(() -> body.run(ranks)));
      }
      List<Outcome<T>> outcomes = new ArrayList<>();
      for (Future<T> future : futures) {
        try {
          outcomes.add(new Outcome<>(future.get(60, TimeUnit.SECONDS), null));
        } catch (ExecutionException e) {
          outcomes.add(new Outcome<>(null, e.getCause()));
        } catch (TimeoutException e) {
          throw new AssertionError("a rank waits for ever", e);
        }
      }
      return outcomes;
    } finally {
      threads.shutdownNow();
    }
  }

  /** Runs a body that succeeds on all ranks. */
  static <T> List<T> succeed(int size, Body<T> body) throws InterruptedException {
    List<T> results = new ArrayList<>();
    for (Outcome<T> outcome : run(size, body)) {
      if (outcome.failure != null) {
        throw new AssertionError(outcome.failure);
      }
      results.add(outcome.result);
    }
    return results;
  }

  /** A rank that dies as its n-th exchange begins. */
  static Ranks dyingAt(int exchange, Ranks ranks) {
    return new Ranks() {
      private int next;

      @Override
      public int rank() {
        return ranks.rank();
      }

      @Override
      public int size() {
        return ranks.size();
      }

      @Override
      public List<byte[]> exchange(byte[] own) throws IOException {
        if (next++ == exchange) {
          ((Rank) ranks).die();
          throw new Death();
        }
        return ranks.exchange(own);
      }
    };
  }

  private final class Rank implements Ranks {
    private final int rank;

    Rank(int rank) {
      this.rank = rank;
    }

    @Override
    public int rank() {
      return rank;
    }

    @Override
    public int size() {
      return told.length;
    }

    @Override
    public List<byte[]> exchange(byte[] own) throws IOException {
      try {
        told[rank] = own;
        barrier.await(60, TimeUnit.SECONDS);
        List<byte[]> all = new ArrayList<>();
        for (byte[] each : told) {
          all.add(Arrays.copyOf(each, each.length));
        }
        // Nobody tells the next before all have heard this.
        barrier.await(60, TimeUnit.SECONDS);
        return all;
      } catch (BrokenBarrierException | TimeoutException | InterruptedException e) {
        throw new IOException("a peer has closed the connection", e);
      }
    }

    void die() throws IOException {
      try {
        // Arrives and breaks the barrier for all who wait there or will.
        Thread.currentThread().interrupt();
        barrier.await();
      } catch (InterruptedException e) {
        return;
      } catch (BrokenBarrierException e) {
        return;
      }
      throw new IllegalStateException("an interrupted thread passed the barrier");
    }
  }
}
