package moe4j.tensor;

import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.global.torch;

/**
 * Pieces of work that run side by side on a CPU, on as many threads as libtorch's kernels have, the
 * kernels in each on one thread. It is for products too small to be shared by several threads.
 */
public final class SideBySide {
  private static final ExecutorService HELPERS =
      Executors.newCachedThreadPool(
          work -> {
            Thread thread = new Thread(work, "side by side");
            thread.setDaemon(true);
            return thread;
          });

  private SideBySide() {}

  /**
   * Runs all tasks, the first ones first, each in a native-memory scope of its own and without
   * recording. A task has to retain what it hands out.
   *
   * @throws RuntimeException or Error: what a task threw first, after all threads are done
   */
  public static void run(List<Runnable> tasks) {
    int threads = torch.get_num_threads();
    int helpers = Math.min(threads, tasks.size()) - 1;
    if (helpers <= 0) {
      tasks.forEach(SideBySide::scoped);
      return;
    }
    AtomicInteger next = new AtomicInteger();
    AtomicReference<Throwable> failure = new AtomicReference<>();
    Runnable share =
        () -> {
          // libtorch keeps this number for each thread; new threads begin with the number set last.
          torch.set_num_threads(1);
          try {
            for (int i = next.getAndIncrement(); i < tasks.size(); i = next.getAndIncrement()) {
              scoped(tasks.get(i));
            }
          } catch (Throwable e) {
            next.set(tasks.size());
            failure.compareAndSet(null, e);
          }
        };
    CountDownLatch running = new CountDownLatch(helpers);
    for (int i = 0; i < helpers; i++) {
      HELPERS.execute(
          () -> {
            share.run();
            running.countDown();
          });
    }
    share.run();
    // After a failure, too: the other threads still use the caller's tensors.
    boolean interrupted = false;
    while (running.getCount() > 0) {
      try {
        running.await();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    torch.set_num_threads(threads);
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    Throwable thrown = failure.get();
    if (thrown instanceof RuntimeException exception) {
      throw exception;
    } else if (thrown instanceof Error error) {
      throw error;
    }
  }

  private static void scoped(Runnable task) {
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      task.run();
    }
  }
}
