package moe4j.cli;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadLocalRandom;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.Ranges;
import moe4j.training.ShutdownSignal;

/**
 * {@code moe4j launch --nproc-per-node N -- COMMAND ...}: runs a command in N processes of this
 * machine, with the environment that torchrun would give them.
 *
 * <p>A line that a rank prints has {@code [rank N]} before it. TERM, INT and HUP are passed on.
 * Where a rank fails the others are ended, and all are started anew as long as {@code
 * --max-restarts} allows; then its exit status is this command's.
 */
public final class LaunchCommand implements Command {
  /**
   * Systems give away higher ports themselves, so no connection takes one of these before rank 0.
   */
  private static final int FIRST_PORT = 20_000;

  private static final int PORTS = 10_000;
  private static final int LAST_PORT = 65_535;
  private static final int TRIES = 100;

  private static final String NCCL_INTERFACE = "NCCL_SOCKET_IFNAME";

  /** The interface that no other host reaches, where it has Linux's name. */
  private static final Path LOOPBACK = Path.of("/sys/class/net/lo");

  private static final String RUN_ID = "TORCHELASTIC_RUN_ID";

  /** Its flags. */
  public record Options(
      @Flag(help = "processes to start", required = true) int nprocPerNode,
      @Flag(help = "how often all are started anew after one failed", value = "0") int maxRestarts,
      @Flag(help = "port where the processes meet", otherwise = "a free one") Integer masterPort,
      @Flag(
              help = "seconds that the processes have to end, after a signal was passed on",
              value = "300")
          int stopTimeout) {

    /** Checks the numbers. */
    public Options {
      Ranges.positive("nproc-per-node", nprocPerNode);
      Ranges.notNegative("max-restarts", maxRestarts);
      Ranges.notNegative("stop-timeout", stopTimeout);
      if (masterPort != null && (masterPort < 1 || masterPort > LAST_PORT)) {
        throw new IllegalArgumentException(
            "--master-port %d is not a port: ports are 1 to %d".formatted(masterPort, LAST_PORT));
      }
    }
  }

  @Override
  public String name() {
    return "launch";
  }

  @Override
  public String summary() {
    return "run a command in several processes of this machine, as torchrun does";
  }

  @Override
  public String positional() {
    return "-- COMMAND [ARGUMENT ...]";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class).beforeCommand();
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException, InterruptedException {
    Options options = parsed.get(Options.class);
    List<String> command = parsed.positional();
    if (command.isEmpty()) {
      throw new IllegalArgumentException(
          "a COMMAND is asked for: moe4j launch --nproc-per-node %d -- COMMAND [ARGUMENT ...]"
              .formatted(options.nprocPerNode()));
    }
    BlockingQueue<LocalRanks.Event> events = new LinkedBlockingQueue<>();
    Runnable giveBack =
        ShutdownSignal.handle(
            name -> events.add(new LocalRanks.Signalled(name)), ShutdownSignal.names());
    try {
      return run(options, command, events);
    } finally {
      giveBack.run();
    }
  }

  private int run(Options options, List<String> command, BlockingQueue<LocalRanks.Event> events)
      throws IOException, InterruptedException {
    String runId = UUID.randomUUID().toString();
    for (int restart = 0; ; restart++) {
      LocalRanks.Outcome outcome =
          LocalRanks.run(
              command,
              environments(options, port(options.masterPort()), restart, runId),
              RUN_ID + "=" + runId,
              events,
              options.stopTimeout());
      if (outcome.hurried()) {
        System.err.println("moe4j launch: SIGINT once more: what still ran was killed");
        return ShutdownSignal.status("INT");
      }
      if (outcome.failed() == null) {
        return outcome.over() ? 0 : 1;
      }
      // What is left in the queue is a signal that came too late to be passed on.
      boolean last =
          restart == options.maxRestarts()
              || outcome.signal() != null
              || !outcome.over()
              || !events.isEmpty();
      System.err.printf(
          "moe4j launch: %s%s%n",
          outcome.sentence(),
          last ? "" : "; restart %d of %d".formatted(restart + 1, options.maxRestarts()));
      if (last) {
        return outcome.failed().code();
      }
    }
  }

  /** What torchrun would set for each of the processes. */
  private static List<Map<String, String>> environments(
      Options options, int port, int restart, String runId) {
    int size = options.nprocPerNode();
    Map<String, String> all = new LinkedHashMap<>();
    all.put("WORLD_SIZE", Integer.toString(size));
    all.put("LOCAL_WORLD_SIZE", Integer.toString(size));
    all.put("GROUP_RANK", "0");
    all.put("GROUP_WORLD_SIZE", "1");
    all.put("MASTER_ADDR", "127.0.0.1");
    all.put("MASTER_PORT", Integer.toString(port));
    all.put("TORCHELASTIC_RESTART_COUNT", Integer.toString(restart));
    all.put("TORCHELASTIC_MAX_RESTARTS", Integer.toString(options.maxRestarts()));
    all.put(RUN_ID, runId);
    all.put(ShutdownSignal.LAUNCHED, "1");
    // Rank 0 serves the store, whatever an outer launcher said.
    all.put("TORCHELASTIC_USE_AGENT_STORE", "False");
    if (System.getenv(NCCL_INTERFACE) == null && Files.isDirectory(LOOPBACK)) {
      // By itself NCCL takes any other interface before it, and listens there to whoever comes.
      all.put(NCCL_INTERFACE, "=lo");
    }
    if (System.getenv("OMP_NUM_THREADS") == null) {
      int threads = Math.max(1, Runtime.getRuntime().availableProcessors() / size);
      all.put("OMP_NUM_THREADS", Integer.toString(threads));
    }
    List<Map<String, String>> environments = new ArrayList<>();
    for (int rank = 0; rank < size; rank++) {
      Map<String, String> own = new LinkedHashMap<>(all);
      own.put("RANK", Integer.toString(rank));
      own.put("LOCAL_RANK", Integer.toString(rank));
      environments.add(own);
    }
    return environments;
  }

  /** The port asked for, where it can be had, or any that is free. */
  private static int port(Integer wanted) throws IOException {
    if (wanted != null) {
      try (ServerSocket socket = listen(wanted)) {
        return socket.getLocalPort();
      } catch (IOException e) {
        throw new IllegalArgumentException(
            "--master-port %d cannot be had: %s; without the flag a free one is taken"
                .formatted(wanted, e.getMessage()),
            e);
      }
    }
    for (int i = 0; i < TRIES; i++) {
      int port = FIRST_PORT + ThreadLocalRandom.current().nextInt(PORTS);
      try (ServerSocket socket = listen(port)) {
        return socket.getLocalPort();
      } catch (IOException e) {
        // Another's: the next one.
      }
    }
    try (ServerSocket socket = listen(0)) {
      return socket.getLocalPort();
    }
  }

  /** As rank 0 will: where no other host comes in. */
  private static ServerSocket listen(int port) throws IOException {
    return new ServerSocket(port, 1, InetAddress.getLoopbackAddress());
  }
}
