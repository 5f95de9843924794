package moe4j.kernels.cuda;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import moe4j.tensor.Scopes;
import org.bytedeco.cuda.cudart.CUctx_st;
import org.bytedeco.cuda.cupti.CUpti_Activity;
import org.bytedeco.cuda.cupti.CUpti_ActivityKernel11;
import org.bytedeco.cuda.cupti.CUpti_ActivityMemcpy6;
import org.bytedeco.cuda.cupti.CUpti_ActivityMemset4;
import org.bytedeco.cuda.cupti.CUpti_BuffersCallbackCompleteFunc;
import org.bytedeco.cuda.cupti.CUpti_BuffersCallbackRequestFunc;
import org.bytedeco.cuda.global.cupti;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.FunctionPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.SizeTPointer;
import org.bytedeco.pytorch.global.torch;

/**
 * Times every kernel and copy of the GPU between start and stop, those of captured graphs one by
 * one, through CUPTI's activity records.
 *
 * <pre>
 * try (KernelProfile profile = KernelProfile.start()) {
 *   step();
 *   KernelTable table = profile.stop();
 * }
 * </pre>
 *
 * A process has one at a time. CUPTI's own graph records stay off, since they would replace the
 * records of a graph's kernels.
 */
public final class KernelProfile implements AutoCloseable {
  /** A buffer of records; a kernel's takes 216 bytes. */
  private static final long BUFFER_BYTES = 8L << 20;

  private static final int[] KINDS = {
    cupti.CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
    cupti.CUPTI_ACTIVITY_KIND_MEMCPY,
    cupti.CUPTI_ACTIVITY_KIND_MEMSET
  };

  private static final String[] COPIES = {
    "",
    "host to device",
    "device to host",
    "host to array",
    "array to host",
    "array to array",
    "array to device",
    "device to array",
    "device to device",
    "host to host",
    "peer to peer"
  };

  /** What CUPTI calls, perhaps on a thread of its own, as long as the process lives. */
  private static List<FunctionPointer> callbacks = List.of();

  /** Held around {@link #current}, and never while CUPTI is called that may wait for a callback. */
  private static final Object LOCK = new Object();

  /** The profile that records go to. */
  private static KernelProfile current;

  private final List<KernelTable.Event> events = new ArrayList<>();
  private final Map<Long, String> names = new HashMap<>();
  private Throwable trouble;
  private long timeless;
  private long dropped;

  private KernelProfile() {}

  /**
   * Attaches CUPTI. It is to be called before graphs are instantiated: only then is it certain that
   * their kernels are recorded.
   *
   * @throws IllegalStateException in one sentence, where CUPTI is missing or refuses
   */
  public static void prepare() {
    attach();
    for (int kind : KINDS) {
      check(cupti.cuptiActivityEnable(kind), "enable records");
    }
    disable();
  }

  /**
   * Waits for the GPU and begins to record.
   *
   * @throws IllegalStateException in one sentence, where CUPTI is missing or refuses
   */
  public static KernelProfile start() {
    attach();
    Cuda.synchronize();
    KernelProfile profile = new KernelProfile();
    synchronized (LOCK) {
      if (current != null) {
        throw new IllegalStateException("The GPU is being profiled already.");
      }
      current = profile;
    }
    try {
      for (int kind : KINDS) {
        check(cupti.cuptiActivityEnable(kind), "enable records");
      }
    } catch (IllegalStateException e) {
      profile.close();
      throw e;
    }
    return profile;
  }

  /**
   * Waits for the GPU and ends the recording.
   *
   * @throws IllegalStateException in one sentence, where records were lost or could not be read
   */
  public KernelTable stop() {
    Cuda.synchronize();
    flush(0);
    disable();
    flush(cupti.CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    synchronized (LOCK) {
      current = null;
    }
    if (trouble != null) {
      throw new IllegalStateException("CUPTI's records could not be read: " + trouble, trouble);
    }
    if (dropped + timeless > 0) {
      throw new IllegalStateException(
          "CUPTI lost %d records and gave %d without times".formatted(dropped, timeless));
    }
    return KernelTable.of(events);
  }

  /** Ends the recording, where it was not stopped. */
  @Override
  public void close() {
    boolean running;
    synchronized (LOCK) {
      running = current == this;
      if (running) {
        current = null;
      }
    }
    if (running) {
      for (int kind : KINDS) {
        cupti.cuptiActivityDisable(kind);
      }
    }
  }

  private static void flush(int flag) {
    check(cupti.cuptiActivityFlushAll(flag), "hand over its records");
  }

  private static void disable() {
    for (int kind : KINDS) {
      check(cupti.cuptiActivityDisable(kind), "disable records");
    }
  }

  /** Loads CUPTI and registers the callbacks; a process has one pair of them. */
  private static synchronized void attach() {
    if (!callbacks.isEmpty()) {
      return;
    }
    try {
      Requested request = Scopes.keep(Requested::new);
      Completed complete = Scopes.keep(Completed::new);
      check(cupti.cuptiActivityRegisterCallbacks(request, complete), "take callbacks");
      callbacks = List.of(request, complete);
    } catch (LinkageError e) {
      throw new IllegalStateException(
          "the profiler needs CUPTI, libcupti.so.13 of CUDA 13, and its presets (-Pgpu): "
              + e.getMessage(),
          e);
    }
  }

  private static void check(int status, String what) {
    if (status == cupti.CUPTI_SUCCESS) {
      return;
    }
    String reason;
    try (PointerScope scope = new PointerScope()) {
      PointerPointer<BytePointer> text = new PointerPointer<>(1);
      text.put(0, (Pointer) null);
      cupti.cuptiGetResultString(status, text);
      Pointer name = text.get(0);
      reason = name == null ? "status" : new BytePointer(name).getString();
    }
    String hint =
        switch (status) {
          case cupti.CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED ->
              ", another profiler is attached";
          case cupti.CUPTI_ERROR_INSUFFICIENT_PRIVILEGES ->
              ", the driver lets only administrators profile";
          default -> "";
        };
    throw new IllegalStateException(
        "CUPTI does not %s: %s (%d)%s".formatted(what, reason, status, hint));
  }

  /** Hands CUPTI a buffer. */
  private static final class Requested extends CUpti_BuffersCallbackRequestFunc {
    @Override
    @SuppressWarnings("rawtypes")
    public void call(PointerPointer buffer, SizeTPointer size, SizeTPointer maxRecords) {
      try (PointerScope scope = new PointerScope()) {
        Pointer memory = Pointer.malloc(BUFFER_BYTES);
        buffer.put(0, memory);
        size.put(0, memory == null || memory.isNull() ? 0 : BUFFER_BYTES);
        maxRecords.put(0, 0);
      }
    }
  }

  /** Takes a filled buffer back. Nothing may be thrown through CUPTI's frames. */
  private static final class Completed extends CUpti_BuffersCallbackCompleteFunc {
    @Override
    public void call(CUctx_st context, int stream, BytePointer buffer, long size, long valid) {
      try (PointerScope scope = new PointerScope()) {
        synchronized (LOCK) {
          if (current != null && valid > 0) {
            current.take(context, stream, buffer, valid);
          }
        }
        if (buffer != null) {
          Pointer.free(buffer);
        }
      }
    }
  }

  private void take(CUctx_st context, int stream, BytePointer buffer, long valid) {
    try {
      read(buffer, valid);
      SizeTPointer lost = new SizeTPointer(1);
      lost.put(0, 0);
      check(
          cupti.cuptiActivityGetNumDroppedRecords(context, stream, lost), "count dropped records");
      dropped += lost.get();
    } catch (RuntimeException | LinkageError e) {
      trouble = e;
    }
  }

  /** Adds the records of a buffer, which come one after the other. */
  void read(BytePointer buffer, long valid) {
    // Null asks for the first; the call puts the next record's address into the same object.
    CUpti_Activity record = new CUpti_Activity((Pointer) null);
    int status = cupti.cuptiActivityGetNextRecord(buffer, valid, record);
    while (status == cupti.CUPTI_SUCCESS) {
      add(record);
      status = cupti.cuptiActivityGetNextRecord(buffer, valid, record);
    }
    if (status != cupti.CUPTI_ERROR_MAX_LIMIT_REACHED) {
      check(status, "give the next record");
    }
  }

  /**
   * CUDA 13.0 gives kernels as CUpti_ActivityKernel10, of which the presets' 11 of CUDA 13.1 is a
   * longer form: start, end and name lie at the same offsets, 16, 24 and 104.
   */
  private void add(CUpti_Activity record) {
    int kind = record.kind();
    if (kind == cupti.CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL
        || kind == cupti.CUPTI_ACTIVITY_KIND_KERNEL) {
      CUpti_ActivityKernel11 kernel = new CUpti_ActivityKernel11(record);
      add(name(kernel.name()), kernel.start(), kernel.end());
    } else if (kind == cupti.CUPTI_ACTIVITY_KIND_MEMCPY) {
      CUpti_ActivityMemcpy6 copy = new CUpti_ActivityMemcpy6(record);
      int way = copy.copyKind();
      String ways = way > 0 && way < COPIES.length ? " " + COPIES[way] : "";
      add("memcpy" + ways, copy.start(), copy.end());
    } else if (kind == cupti.CUPTI_ACTIVITY_KIND_MEMSET) {
      CUpti_ActivityMemset4 set = new CUpti_ActivityMemset4(record);
      add("memset", set.start(), set.end());
    }
  }

  /** CUPTI gives 0 for both times where it could not take them. */
  private void add(String name, long start, long end) {
    if (start == 0 || end < start) {
      timeless++;
    } else {
      events.add(new KernelTable.Event(name, start, end));
    }
  }

  private String name(BytePointer mangled) {
    if (mangled == null || mangled.isNull()) {
      return "a kernel without a name";
    }
    return names.computeIfAbsent(
        mangled.address(), address -> KernelTable.shorten(torch.demangle(mangled.getString())));
  }

  /** What was read so far. */
  List<KernelTable.Event> events() {
    return events;
  }
}
