package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import moe4j.kernels.NativeLibraries;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class SideBySideTest {
  private int before;

  @BeforeMethod
  public void remember() {
    before = NativeLibraries.threads();
  }

  @AfterMethod
  public void restore() {
    NativeLibraries.setThreads(before);
    assertFalse(Thread.interrupted());
  }

  @DataProvider
  public Object[][] threads() {
    return new Object[][] {{1}, {2}, {4}};
  }

  @Test(dataProvider = "threads")
  public void eachTaskRunsOnce(int threads) throws InterruptedException {
    NativeLibraries.setThreads(threads);
    for (int count : new int[] {0, 1, 2, 3, 100}) {
      AtomicIntegerArray runs = new AtomicIntegerArray(count);
      Set<Integer> seen = ConcurrentHashMap.newKeySet();
      SideBySide.run(
          tasks(
              count,
              i -> {
                runs.incrementAndGet(i);
                seen.add(NativeLibraries.threads());
              }));
      for (int i = 0; i < count; i++) {
        assertEquals(runs.get(i), 1, "task " + i);
      }
      // Where there is nothing beside a task, all threads are its kernels'.
      assertEquals(
          seen, count == 0 ? Set.of() : Set.of(count > 1 && threads > 1 ? 1 : threads), "kernels");
      assertThreads(threads);
    }
  }

  /** Here, and where a thread begins. */
  private static void assertThreads(int threads) throws InterruptedException {
    assertEquals(NativeLibraries.threads(), threads);
    AtomicInteger fresh = new AtomicInteger();
    Thread thread = new Thread(() -> fresh.set(NativeLibraries.threads()));
    thread.start();
    thread.join();
    assertEquals(fresh.get(), threads, "a new thread's");
  }

  @Test
  public void twoRunAtOnce() {
    NativeLibraries.setThreads(2);
    CountDownLatch both = new CountDownLatch(2);
    Set<Thread> workers = ConcurrentHashMap.newKeySet();
    SideBySide.run(
        tasks(
            2,
            i -> {
              both.countDown();
              await(both);
              workers.add(Thread.currentThread());
            }));
    assertEquals(workers.size(), 2);
    assertTrue(workers.contains(Thread.currentThread()));
  }

  @DataProvider
  public Object[][] failures() {
    return new Object[][] {
      {new IllegalStateException("on purpose")}, {new AssertionError("on purpose")}
    };
  }

  /** The other task goes on for a while, fails too, and is waited for. */
  @Test(dataProvider = "failures")
  public void theFirstFailureIsThrownLast(Throwable first) throws InterruptedException {
    NativeLibraries.setThreads(2);
    CountDownLatch begun = new CountDownLatch(2);
    AtomicInteger ended = new AtomicInteger();
    List<Runnable> tasks =
        List.of(
            () -> {
              begun.countDown();
              await(begun);
              throwUnchecked(first);
            },
            () -> {
              begun.countDown();
              await(begun);
              pause();
              ended.incrementAndGet();
              throw new IllegalArgumentException("too late");
            });
    assertSame(expectThrows(Throwable.class, () -> SideBySide.run(tasks)), first);
    assertEquals(ended.get(), 1);
    assertThreads(2);
    // What failed leaves the next ones alone.
    eachTaskRunsOnce(2);
  }

  @Test(dataProvider = "threads")
  public void aFailureOfOneOfMany(int threads) throws InterruptedException {
    NativeLibraries.setThreads(threads);
    IllegalStateException failure = new IllegalStateException("on purpose");
    AtomicInteger ended = new AtomicInteger();
    AtomicInteger begun = new AtomicInteger();
    List<Runnable> tasks =
        tasks(
            50,
            i -> {
              begun.incrementAndGet();
              if (i == 7) {
                throw failure;
              }
              ended.incrementAndGet();
            });
    assertSame(expectThrows(RuntimeException.class, () -> SideBySide.run(tasks)), failure);
    int then = begun.get();
    assertEquals(ended.get(), then - 1);
    assertTrue(then >= 8, then + " began");
    pause();
    assertEquals(begun.get(), then, "none begins afterwards");
    assertThreads(threads);
  }

  @Test(dataProvider = "threads")
  public void whatIsRetainedSurvives(int threads) {
    NativeLibraries.setThreads(threads);
    List<Tensor> kept = Collections.synchronizedList(new ArrayList<>());
    List<Tensor> dropped = Collections.synchronizedList(new ArrayList<>());
    List<Runnable> tasks =
        tasks(
            9,
            i -> {
              Tensor outer = torch.ones(2).mul(new Scalar(3));
              try (PointerScope nested = new PointerScope()) {
                Tensor inner = outer.add(new Scalar(1));
                inner.retainReference();
                kept.add(inner);
                dropped.add(outer.neg());
              }
              assertFalse(outer.isNull());
              outer.add_(new Scalar(1));
              outer.retainReference();
              kept.add(outer);
              dropped.add(torch.ones(1));
            });
    SideBySide.run(tasks);
    Scopes.run(() -> SideBySide.run(tasks));
    assertEquals(kept.size(), 36);
    assertEquals(dropped.size(), 36);
    for (Tensor t : dropped) {
      assertTrue(t.isNull());
    }
    for (Tensor t : kept) {
      assertEquals(Tensors.floats(t), new float[] {4, 4});
      t.close();
    }
  }

  @Test(dataProvider = "threads")
  public void nothingIsRecorded(int threads) {
    NativeLibraries.setThreads(threads);
    try (PointerScope scope = new PointerScope()) {
      Tensor x = torch.ones(2).set_requires_grad(true);
      Set<Boolean> recorded = ConcurrentHashMap.newKeySet();
      SideBySide.run(
          tasks(
              6,
              i -> {
                recorded.add(GradMode.is_enabled());
                recorded.add(x.add(x).requires_grad());
              }));
      assertEquals(recorded, Set.of(false));
      assertTrue(GradMode.is_enabled());
      assertTrue(x.add(x).requires_grad());
    }
  }

  @Test(dataProvider = "threads")
  public void anInterruptBeforehandStays(int threads) {
    NativeLibraries.setThreads(threads);
    AtomicInteger ended = new AtomicInteger();
    List<Runnable> tasks =
        tasks(
            20,
            i -> {
              Scopes.run(() -> torch.ones(100, 100).mm(torch.ones(100, 100)));
              ended.incrementAndGet();
            });
    Thread.currentThread().interrupt();
    SideBySide.run(tasks);
    assertTrue(Thread.interrupted());
    assertEquals(ended.get(), 20);
    assertEquals(NativeLibraries.threads(), threads);
  }

  /** The caller has done its share and waits for the other thread, which takes its time. */
  @Test
  public void anInterruptOfTheWaitingCallerStays() {
    NativeLibraries.setThreads(2);
    Thread caller = Thread.currentThread();
    CountDownLatch both = new CountDownLatch(2);
    AtomicInteger ended = new AtomicInteger();
    SideBySide.run(
        tasks(
            2,
            i -> {
              both.countDown();
              await(both);
              if (Thread.currentThread() != caller) {
                pause();
                caller.interrupt();
                pause();
              }
              ended.incrementAndGet();
            }));
    assertEquals(ended.get(), 2);
    assertTrue(Thread.interrupted());
    assertEquals(NativeLibraries.threads(), 2);
  }

  private interface Body {
    void run(int index);
  }

  private static List<Runnable> tasks(int count, Body body) {
    List<Runnable> tasks = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int index = i;
      tasks.add(() -> body.run(index));
    }
    return tasks;
  }

  private static void throwUnchecked(Throwable thrown) {
    if (thrown instanceof Error error) {
      throw error;
    }
    throw (RuntimeException) thrown;
  }

  private static void await(CountDownLatch latch) {
    try {
      assertTrue(latch.await(30, TimeUnit.SECONDS), "tasks do not run side by side");
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void pause() {
    try {
      Thread.sleep(100);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
