package moe4j.training.step;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import moe4j.data.GptBatch;
import moe4j.data.MegatronSampler;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.training.Numbered;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.testng.annotations.Test;

public class BatchLoaderTest {
  private static BatchBuffers.Form form(boolean more) {
    return new BatchBuffers.Form(new Device("cpu"), 2, Numbered.SEQUENCE, more, more);
  }

  private static MegatronSampler sampler(long size) {
    return new MegatronSampler("training", size, 0, 2, 0, 1);
  }

  @Test
  public void batchesComeInOrderAndTheEndIsSaid() {
    Scopes.run(
        () -> {
          BatchBuffers.Form form = form(false);
          try (BatchLoader loader = new BatchLoader(new Numbered(24), sampler(24), form);
              BatchBuffers buffers = new BatchBuffers(form)) {
            for (long first = 0; first < 24; first += 2) {
              buffers.load(loader.next());
              long a = first;
              long b = first + 1;
              assertEquals(Tensors.longs(buffers.batch().tokens()), new long[] {a, a, a, b, b, b});
              assertEquals(
                  Tensors.longs(buffers.batch().labels()),
                  new long[] {a + 1, a + 1, a + 1, b + 1, b + 1, b + 1});
            }
            IllegalStateException e = expectThrows(IllegalStateException.class, loader::next);
            assertTrue(e.getMessage().startsWith("the training samples are used up"), e.toString());
          }
        });
  }

  @Test
  public void aHostBatchHasWhatTheFormHas() {
    Scopes.run(
        () -> {
          for (boolean more : new boolean[] {false, true}) {
            BatchBuffers.Form form = form(more);
            try (HostBatch host = new HostBatch(form);
                BatchBuffers buffers = new BatchBuffers(form)) {
              host.fill(new Numbered(9), new long[] {7, 2});
              buffers.load(host);
              // Filled anew, it leaves the device's copy as it is.
              host.fill(new Numbered(9), new long[] {0, 0});
              var batch = buffers.batch();
              assertEquals(Tensors.longs(batch.tokens()), new long[] {7, 7, 7, 2, 2, 2});
              assertEquals(Tensors.floats(batch.lossMask()), new float[] {1, 1, 0, 1, 1, 0});
              if (more) {
                assertEquals(Tensors.longs(batch.positions()), new long[] {0, 1, 2, 0, 1, 2});
                assertEquals(Tensors.longs(batch.documents()), new long[] {0, 0, 0, 1, 1, 1});
              } else {
                assertNull(batch.positions());
                assertNull(batch.documents());
              }
            }
          }
        });
  }

  /** The reader's memory goes only when it has come to its end; there is nothing left of it. */
  @Test(timeOut = 60_000)
  public void closingWhileTheReaderIsBusy() throws InterruptedException {
    long before = Scopes.livePointers();
    CountDownLatch reading = new CountDownLatch(1);
    CountDownLatch goOn = new CountDownLatch(1);
    Thread[] reader = new Thread[1];
    Numbered slow =
        new Numbered(1000) {
          @Override
          public void read(long k, GptBatch batch, int row) {
            super.read(k, batch, row);
            if (k == 3) {
              reader[0] = Thread.currentThread();
              reading.countDown();
              awaitDeafly(goOn);
            }
          }
        };
    try (PointerScope scope = new PointerScope()) {
      BatchLoader loader = new BatchLoader(slow, sampler(1000), form(true));
      loader.next();
      reading.await();
      Thread closing = new Thread(loader::close);
      closing.start();
      closing.join(50);
      assertTrue(closing.isAlive(), "close waits for the reader");
      goOn.countDown();
      closing.join();
      reader[0].join();
    }
    assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
  }

  /** As a read from disk does, it takes no notice of an interrupt but keeps it. */
  private static void awaitDeafly(CountDownLatch latch) {
    boolean interrupted = false;
    while (true) {
      try {
        if (latch.await(1, TimeUnit.MINUTES)) {
          break;
        }
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Nobody takes what was read: the reader waits for room, and is let go. */
  @Test(timeOut = 60_000)
  public void closingWhileTheReaderWaits() {
    for (int i = 0; i < 20; i++) {
      Scopes.run(() -> new BatchLoader(new Numbered(1000), sampler(1000), form(false)).close());
    }
  }

  @Test(timeOut = 60_000)
  public void whatStopsTheReaderIsThrown() {
    RuntimeException fault = new IllegalArgumentException("token 300 of 257");
    Error grave = new StackOverflowError();
    Scopes.run(
        () -> {
          try (BatchLoader loader = new BatchLoader(failing(fault), sampler(9), form(false))) {
            assertSame(expectThrows(IllegalArgumentException.class, loader::next), fault);
          }
          try (BatchLoader loader = new BatchLoader(failing(grave), sampler(9), form(false))) {
            assertSame(expectThrows(IllegalStateException.class, loader::next).getCause(), grave);
          }
        });
  }

  private static Numbered failing(Throwable fault) {
    return new Numbered(9) {
      @Override
      public void read(long k, GptBatch batch, int row) {
        if (fault instanceof Error error) {
          throw error;
        }
        throw (RuntimeException) fault;
      }
    };
  }
}
