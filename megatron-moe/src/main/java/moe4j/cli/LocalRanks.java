package moe4j.cli;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * The processes of a run on this machine, from their start until none is left. They end together:
 * the first that fails takes the others with it.
 */
final class LocalRanks {
  /** What processes have to end in where another has failed, before they are killed. */
  private static final long GRACE = TimeUnit.SECONDS.toNanos(5);

  /** What processes that were killed have to be gone in, and those that others left behind. */
  private static final long LAST_GRACE = TimeUnit.SECONDS.toNanos(2);

  /** What a rank's last words may take to come through the pipe once it has ended. */
  private static final long LAST_WORDS_MILLISECONDS = 1000;

  /** A terminal sends Ctrl-C to all at once: the ranks may have ended before we hear of it. */
  private static final long LATE_SIGNAL_MILLISECONDS = 200;

  private static final Map<Integer, String> SIGNALS =
      Map.ofEntries(
          Map.entry(1, "SIGHUP"),
          Map.entry(2, "SIGINT"),
          Map.entry(3, "SIGQUIT"),
          Map.entry(4, "SIGILL"),
          Map.entry(6, "SIGABRT"),
          Map.entry(7, "SIGBUS"),
          Map.entry(8, "SIGFPE"),
          Map.entry(9, "SIGKILL"),
          Map.entry(10, "SIGUSR1"),
          Map.entry(11, "SIGSEGV"),
          Map.entry(12, "SIGUSR2"),
          Map.entry(13, "SIGPIPE"),
          Map.entry(14, "SIGALRM"),
          Map.entry(15, "SIGTERM"),
          Map.entry(24, "SIGXCPU"));

  /** What happens while they run. */
  sealed interface Event permits Ended, Signalled {}

  /** A rank has ended. */
  record Ended(int rank, int code) implements Event {
    @Override
    public String toString() {
      String signal = SIGNALS.get(code - 128);
      return "rank %d ended with exit code %d%s"
          .formatted(rank, code, signal == null ? "" : " (" + signal + ")");
    }
  }

  /** The launcher was sent a signal; its name is without {@code SIG}. */
  record Signalled(String name) implements Event {}

  /**
   * How it went.
   *
   * @param failed the rank that ended first with another code than 0; null for none
   * @param lastLine what that rank last had to say; may be empty
   * @param signal the first signal that came; null for none
   * @param hurried whether a second interrupt came while processes still ran, which were killed
   * @param over whether all processes are gone
   */
  record Outcome(Ended failed, String lastLine, String signal, boolean hurried, boolean over) {
    /** The sentence about a failure. */
    String sentence() {
      return failed
          + (signal == null ? "" : " after SIG" + signal)
          + (lastLine.isEmpty() ? "" : ": " + lastLine);
    }
  }

  private final List<RankOutput> outputs = new ArrayList<>();
  private final List<RankOutput> errors = new ArrayList<>();
  private final ProcessTree tree;
  private final BlockingQueue<Event> events;
  private final long stopTimeout;

  private int running;
  private Ended failed;
  private String lastLine = "";
  private String signal;
  private boolean hurried;

  /** When whatever then runs is killed, in {@link System#nanoTime()}'s time; null for never. */
  private Long deadline;

  private LocalRanks(ProcessTree tree, BlockingQueue<Event> events, long stopTimeout) {
    this.tree = tree;
    this.events = events;
    this.stopTimeout = stopTimeout;
  }

  /**
   * Runs a command in as many processes as there are environments.
   *
   * @param environments what is set for each rank, beside what this process has
   * @param mark a {@code NAME=VALUE} of these environments that no other process has
   * @param events where signals come in
   * @param stopTimeout seconds that they have to end after a signal
   * @throws IOException where a process cannot be started; none is left then
   */
  static Outcome run(
      List<String> command,
      List<Map<String, String>> environments,
      String mark,
      BlockingQueue<Event> events,
      long stopTimeout)
      throws IOException, InterruptedException {
    LocalRanks ranks =
        new LocalRanks(new ProcessTree(mark), events, TimeUnit.SECONDS.toNanos(stopTimeout));
    boolean watched = false;
    try {
      for (Map<String, String> environment : environments) {
        ranks.start(command, environment);
      }
      Outcome outcome = ranks.watch();
      watched = true;
      return outcome;
    } finally {
      if (!watched) {
        ranks.tree.kill();
      }
    }
  }

  private void start(List<String> command, Map<String, String> environment) throws IOException {
    int rank = running;
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.environment().putAll(environment);
    Process process;
    try {
      process = builder.start();
    } catch (IOException e) {
      // "Cannot run program "x": error=2, No such file or directory"
      String reason = String.valueOf(e.getMessage()).replaceFirst("(?s).*error=\\d+, ", "");
      throw new IOException("'%s' cannot be started: %s".formatted(command.get(0), reason), e);
    }
    running++;
    tree.add(process);
    outputs.add(RankOutput.start(rank, process.getInputStream(), System.out));
    errors.add(RankOutput.start(rank, process.getErrorStream(), System.err));
    Thread waiter = new Thread(() -> await(rank, process), "end of rank " + rank);
    waiter.setDaemon(true);
    waiter.start();
    // Several readers of one terminal would take the words from each other: they get none.
    process.getOutputStream().close();
  }

  private void await(int rank, Process process) {
    try {
      events.add(new Ended(rank, process.waitFor()));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private Outcome watch() throws InterruptedException {
    boolean killed = false;
    while (running > 0) {
      Event event =
          deadline == null
              ? events.take()
              : events.poll(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
      if (event instanceof Ended ended) {
        ended(ended);
      } else if (event instanceof Signalled signalled && signal == null) {
        signal = signalled.name();
        tree.signal(signal);
        within(stopTimeout);
      } else if (event instanceof Signalled signalled && signalled.name().equals("INT")) {
        // Who presses Ctrl-C again does not want to wait.
        hurried = true;
        within(0);
      } else if (event == null) {
        if (killed) {
          break;
        }
        tree.kill();
        killed = true;
        deadline = System.nanoTime() + LAST_GRACE;
      }
    }
    boolean over = running == 0;
    // A shell that ends at once may leave a process that saves first: after a signal it may.
    long rest = signal == null || killed ? 0 : deadline - System.nanoTime();
    tree.sweep(Math.max(rest, LAST_GRACE));
    for (RankOutput output : outputs) {
      output.await(LAST_WORDS_MILLISECONDS);
    }
    for (RankOutput output : errors) {
      output.await(LAST_WORDS_MILLISECONDS);
    }
    if (signal == null
        && failed != null
        && failed.code() > 128
        && events.poll(LATE_SIGNAL_MILLISECONDS, TimeUnit.MILLISECONDS)
            instanceof Signalled signalled) {
      signal = signalled.name();
    }
    return new Outcome(failed, lastLine, signal, hurried, over);
  }

  private void ended(Ended ended) throws InterruptedException {
    running--;
    if (ended.code() == 0 || failed != null) {
      return;
    }
    failed = ended;
    if (running > 0) {
      if (signal == null) {
        tree.signal("TERM");
      }
      within(GRACE);
    }
    RankOutput error = errors.get(ended.rank());
    error.await(LAST_WORDS_MILLISECONDS);
    lastLine = error.lastLine();
  }

  /** Brings the deadline nearer. */
  private void within(long nanoseconds) {
    long end = System.nanoTime() + nanoseconds;
    if (deadline == null || deadline - end > 0) {
      deadline = end;
    }
  }
}
