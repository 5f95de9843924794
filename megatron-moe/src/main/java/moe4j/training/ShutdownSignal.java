package moe4j.training;

import java.io.File;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import moe4j.parallel.WorldEnvironment;

/**
 * Notes SIGINT, SIGTERM and SIGHUP, so that a run can end its step, save and end. The first one is
 * noted while there is {@linkplain #begin work under way}; at any other time, and at a second
 * SIGINT, the process ends at once, as it does without this class.
 *
 * <p>A terminal sends Ctrl-C to all processes of a command, and what started a rank may pass it on
 * as well, so that one Ctrl-C can come twice. Under {@code moe4j launch} the launcher counts, and
 * kills the ranks at the second; another launcher's ranks take what comes within a second for the
 * same.
 */
public final class ShutdownSignal {
  /** The variable that tells a process that {@code moe4j launch} started it and counts for it. */
  public static final String LAUNCHED = "MOE4J_LAUNCHED";

  /** A signal's status is this and its number, as shells have it. */
  private static final int SIGNALLED = 128;

  /** The numbers are POSIX's, the same everywhere. */
  private static final Map<String, Integer> NUMBERS = Map.of("HUP", 1, "INT", 2, "TERM", 15);

  private static final long SAME_NANOS = Duration.ofSeconds(1).toNanos();

  /** How often a SIGINT counts that comes behind another signal. */
  enum Counting {
    /** The second one ends the process. */
    EACH,
    /** The same, but not within a moment of the first: it may be the same one, passed on. */
    NOT_AT_ONCE,
    /** Never: somebody else counts. */
    NEVER
  }

  private final Counting counting;
  private final Consumer<String> say;
  private final Consumer<String> end;
  private final LongSupplier nanoTime;

  private String first;
  private long firstAt;

  /** Whether there is something to save, in words; null where nothing is under way. */
  private String work;

  /**
   * Signals that something else hears.
   *
   * @param say is told what happens
   * @param end ends the process by a signal's name
   * @param nanoTime as {@link System#nanoTime}
   */
  ShutdownSignal(
      Counting counting, Consumer<String> say, Consumer<String> end, LongSupplier nanoTime) {
    this.counting = counting;
    this.say = say;
    this.end = end;
    this.nanoTime = nanoTime;
  }

  /** The signals that end a process and can be heard here, without {@code SIG}. */
  public static List<String> names() {
    // Windows has no HUP.
    return File.separatorChar == '/' ? List.of("TERM", "INT", "HUP") : List.of("TERM", "INT");
  }

  /** The status of a process that a signal ended, as shells give it. */
  public static int status(String name) {
    return SIGNALLED + NUMBERS.get(name);
  }

  /** Hears of no signal by itself: they end the process at once, as without this class. */
  public static ShutdownSignal none() {
    return new ShutdownSignal(Counting.NEVER, line -> {}, name -> {}, System::nanoTime);
  }

  /**
   * Takes the signals over from the virtual machine, as one of the processes that the environment
   * tells of. One that this process was started to ignore stays ignored.
   *
   * @throws IllegalStateException on a virtual machine without signals
   */
  public static ShutdownSignal install() {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    Counting counting =
        System.getenv(LAUNCHED) != null
            ? Counting.NEVER
            : environment.isAlone() ? Counting.EACH : Counting.NOT_AT_ONCE;
    // One line is enough of all ranks.
    Consumer<String> say = environment.rank() == 0 ? System.err::println : line -> {};
    Runnable[] giveBack = new Runnable[1];
    ShutdownSignal signal =
        new ShutdownSignal(
            counting,
            say,
            name -> {
              giveBack[0].run();
              raise(name);
            },
            System::nanoTime);
    synchronized (signal) {
      giveBack[0] = handle(signal::heard, names());
    }
    return signal;
  }

  /**
   * A signal has come; a program of one's own stops its run with it.
   *
   * @param name {@code INT}, {@code TERM} or {@code HUP}
   */
  public synchronized void heard(String name) {
    if (first == null) {
      first = name;
      firstAt = nanoTime.getAsLong();
      if (work == null) {
        say.accept(
            "moe4j: SIG%s: no step is under way, and there is nothing to save: the process ends"
                .formatted(name));
        end.accept(name);
      } else {
        say.accept(
            "moe4j: SIG%s: the run ends with this step%s; a second Ctrl-C (SIGINT) ends it at once"
                .formatted(name, work));
      }
      return;
    }
    boolean again =
        switch (counting) {
          case EACH -> true;
          case NOT_AT_ONCE -> nanoTime.getAsLong() - firstAt > SAME_NANOS;
          case NEVER -> false;
        };
    if (again && name.equals("INT")) {
      end.accept(name);
    }
  }

  /**
   * From here on there is work under way: the first signal is but noted.
   *
   * @param saves whether what was learnt can be kept
   */
  synchronized void begin(boolean saves) {
    work = saves ? " and saves" : ", and nothing of it is kept, as it saves nothing";
  }

  /** What was under way has ended. */
  synchronized void end() {
    work = null;
  }

  /** The first that has come, without {@code SIG}; null for none. */
  public synchronized String received() {
    return first;
  }

  /**
   * Takes signals over from the virtual machine. One that this process was started to ignore, such
   * as HUP under {@code nohup}, stays ignored. {@code sun.misc.Signal} is reached by reflection: it
   * is supported, but naming it warns.
   *
   * @param action what is done with a signal's name, on a thread of its own
   * @param names without {@code SIG}
   * @return gives the signals back
   * @throws IllegalStateException on a virtual machine without signals
   */
  public static Runnable handle(Consumer<String> action, List<String> names) {
    try {
      Class<?> type = Class.forName("sun.misc.Signal");
      Class<?> handlerType = Class.forName("sun.misc.SignalHandler");
      InvocationHandler call =
          (proxy, method, arguments) -> {
            if (method.getName().equals("handle")) {
              action.accept((String) type.getMethod("getName").invoke(arguments[0]));
            }
            return null;
          };
      Object handler =
          Proxy.newProxyInstance(
              ShutdownSignal.class.getClassLoader(), new Class<?>[] {handlerType}, call);
      Method handle = type.getMethod("handle", type, handlerType);
      Map<Object, Object> before = new LinkedHashMap<>();
      for (String name : names) {
        Object signal = type.getConstructor(String.class).newInstance(name);
        before.put(signal, handle.invoke(null, signal, handler));
      }
      return () -> before.forEach((signal, old) -> giveBack(handle, signal, old));
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(
          "SIG%s cannot be handled on this virtual machine".formatted(names.get(0)), e);
    }
  }

  private static void giveBack(Method handle, Object signal, Object old) {
    try {
      handle.invoke(null, signal, old);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(signal + " cannot be given back", e);
    }
  }

  /** Sends this process a signal. */
  private static void raise(String name) {
    try {
      Class<?> type = Class.forName("sun.misc.Signal");
      type.getMethod("raise", type)
          .invoke(null, type.getConstructor(String.class).newInstance(name));
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("SIG%s cannot be raised".formatted(name), e);
    }
  }
}
