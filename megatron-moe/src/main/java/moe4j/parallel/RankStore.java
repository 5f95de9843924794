package moe4j.parallel;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import moe4j.tensor.Scopes;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.SizeTPointer;
import org.bytedeco.javacpp.chrono.Milliseconds;
import org.bytedeco.pytorch.ByteVector;
import org.bytedeco.pytorch.IntOptional;
import org.bytedeco.pytorch.PrefixStore;
import org.bytedeco.pytorch.Store;
import org.bytedeco.pytorch.StringVector;
import org.bytedeco.pytorch.TCPStore;
import org.bytedeco.pytorch.TCPStoreOptions;

/**
 * The ranks' store of small values by name: c10d's TCPStore, of which rank 0, or torchrun's agent,
 * is the server. A connection belongs to one thread.
 */
final class RankStore {
  private static final Logger LOG = LogManager.getLogger(RankStore.class);

  /** The time that the native side gets beyond its own timeout. */
  private static final long GRACE_MS = 1000;

  private final TCPStore tcp;
  private final Store shared;
  private final String prefix;

  private RankStore(TCPStore tcp, String prefix) {
    this.tcp = Forever.hold(tcp);
    // A store made by Java can be handed to native code once, its native copy any number of times.
    this.shared = Forever.hold(Scopes.keep(tcp::clone));
    this.prefix = prefix;
  }

  /**
   * Connects.
   *
   * @param server whether the server is to be here
   * @param timeout of the connection and of each wait
   * @throws RankLostException where there is no server to be had: one sentence
   */
  static RankStore connect(WorldEnvironment environment, boolean server, Duration timeout) {
    // On a thread of its own: with another server at that port the native call would never end.
    CompletableFuture<TCPStore> store = new CompletableFuture<>();
    Thread thread =
        new Thread(
            () -> {
              try {
                store.complete(open(environment, server, timeout));
              } catch (RuntimeException | Error e) {
                store.completeExceptionally(e);
              }
            },
            "store");
    thread.setDaemon(true);
    thread.start();
    try {
      return new RankStore(
          store.get(timeout.toMillis() + GRACE_MS, TimeUnit.MILLISECONDS),
          "%s/%d/".formatted(environment.runId(), environment.restartCount()));
    } catch (ExecutionException e) {
      throw new RankLostException(sentence(environment, server, timeout, e.getCause()), e);
    } catch (TimeoutException e) {
      throw new RankLostException(sentence(environment, server, timeout, e), e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while connecting to the other ranks", e);
    }
  }

  private static TCPStore open(WorldEnvironment environment, boolean server, Duration timeout) {
    try (PointerScope scope = new PointerScope()) {
      TCPStoreOptions options = new TCPStoreOptions();
      options.port((short) environment.masterPort());
      options.isServer(server);
      options.waitWorkers(false);
      options.numWorkers(new SizeTPointer(1).put(environment.size()));
      options.timeout(new Milliseconds(timeout.toMillis()));
      if (server && listensHere(environment)) {
        options.masterListenFd(new IntOptional(listen(environment).descriptor()));
      }
      return Scopes.keep(() -> new TCPStore(address(environment), options));
    }
  }

  /**
   * Where the ranks meet. On one host it is the host's address for itself, whatever name the host
   * has; a launcher's agent listens where it says.
   */
  private static String address(WorldEnvironment environment) {
    return environment.isOneHost() && !environment.agentStore()
        ? World.LOOPBACK
        : environment.masterAddress();
  }

  /** Whether the store can listen at one address only. */
  private static boolean listensHere(WorldEnvironment environment) {
    if (!environment.isOneHost()) {
      return false;
    }
    if (!ListeningSocket.isPossible()) {
      LOG.warn(
          "the store of the ranks listens on port {} at every address of this machine: on this"
              + " system it cannot be told otherwise",
          environment.masterPort());
      return false;
    }
    return true;
  }

  private static ListeningSocket listen(WorldEnvironment environment) {
    try {
      return Forever.hold(
          ListeningSocket.open(
              InetAddress.getByName(address(environment)), environment.masterPort()));
    } catch (IOException e) {
      throw new UncheckedIOException(e.getMessage(), e);
    }
  }

  private static String sentence(
      WorldEnvironment environment, boolean server, Duration timeout, Throwable e) {
    String message = String.valueOf(e.getMessage());
    String at = "%s:%d".formatted(address(environment), environment.masterPort());
    if (server) {
      boolean used = message.contains("EADDRINUSE") || message.contains("in use");
      return "rank 0 cannot listen on port %d (MASTER_PORT)%s"
          .formatted(
              environment.masterPort(),
              used ? ": it is in use" : ": " + message.lines().findFirst().orElse(""));
    }
    return "rank %d has not reached %s at %s (MASTER_ADDR, MASTER_PORT) within %s s"
        .formatted(
            environment.rank(),
            environment.agentStore() ? "the launcher's agent" : "rank 0",
            at,
            seconds(timeout));
  }

  static String seconds(Duration duration) {
    double seconds = duration.toMillis() / 1e3;
    return seconds == Math.rint(seconds) ? String.valueOf((long) seconds) : String.valueOf(seconds);
  }

  /** A store of c10d's for a new group; one group takes it. */
  PrefixStore forGroup(String name) {
    return Scopes.keep(() -> new PrefixStore(prefix + name, shared));
  }

  void set(String key, String value) {
    try (PointerScope scope = new PointerScope()) {
      byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
      tcp.set(prefix + key, new ByteVector(bytes));
    }
  }

  /** Whether a key is there. */
  boolean has(String key) {
    try (PointerScope scope = new PointerScope()) {
      return tcp.check(new StringVector(prefix + key));
    }
  }

  /** A key's value, or null where it is not there. */
  String get(String key) {
    if (!has(key)) {
      return null;
    }
    try (PointerScope scope = new PointerScope()) {
      return new String(tcp.get(prefix + key).get(), StandardCharsets.UTF_8);
    }
  }

  /** Adds to a counter, which begins at 0; returns the sum. */
  long add(String key, long amount) {
    try (PointerScope scope = new PointerScope()) {
      return tcp.add(prefix + key, amount);
    }
  }
}
