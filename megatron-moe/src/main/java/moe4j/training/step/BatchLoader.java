package moe4j.training.step;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import moe4j.data.MegatronSampler;
import moe4j.data.SampleDataset;

/**
 * Reads micro-batches ahead, on a thread of its own. What it read and nobody took is not consumed:
 * a run resumes from the samples its steps took.
 */
public final class BatchLoader implements AutoCloseable {
  private static final int AHEAD = 4;

  /** A micro-batch that the reader hands over, or the reason why it could not be read. */
  private record Item(HostBatch batch, Throwable failure) {}

  private final BlockingQueue<Item> ready = new ArrayBlockingQueue<>(AHEAD);
  private final BlockingQueue<HostBatch> free = new ArrayBlockingQueue<>(AHEAD);
  private final List<HostBatch> all = new ArrayList<>();
  private final Thread reader;
  private HostBatch lent;

  /**
   * A loader that begins where a sampler stands.
   *
   * @param form of the micro-batches
   */
  public BatchLoader(SampleDataset dataset, MegatronSampler sampler, BatchBuffers.Form form) {
    for (int i = 0; i < AHEAD; i++) {
      all.add(new HostBatch(form));
    }
    free.addAll(all);
    this.reader = new Thread(() -> read(dataset, sampler), "batch-loader");
    reader.setDaemon(true);
    reader.start();
  }

  private void read(SampleDataset dataset, MegatronSampler sampler) {
    try {
      while (true) {
        HostBatch batch = free.take();
        batch.fill(dataset, sampler.next());
        ready.put(new Item(batch, null));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (RuntimeException | Error e) {
      try {
        ready.put(new Item(null, e));
      } catch (InterruptedException interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /**
   * The next micro-batch; the one before goes back to the reader.
   *
   * @throws RuntimeException what stopped the reader: no samples left, a token out of range
   */
  public HostBatch next() {
    try {
      if (lent != null) {
        free.put(lent);
        lent = null;
      }
      Item item = ready.take();
      if (item.failure() instanceof RuntimeException failure) {
        throw failure;
      } else if (item.failure() != null) {
        throw new IllegalStateException(
            "reading samples ahead failed: " + item.failure(), item.failure());
      }
      lent = item.batch();
      return lent;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while waiting for a micro-batch", e);
    }
  }

  @Override
  public void close() {
    reader.interrupt();
    try {
      // Its memory goes only after the reader, who may be writing there.
      reader.join();
      all.forEach(HostBatch::close);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
