package moe4j.parallel;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Tells which rank is gone, and why, when a collective fails. A thread of each rank increases a
 * counter in the store, and a rank that ends with an error leaves a message there, its last words.
 */
final class Liveness implements AutoCloseable {
  private static final Duration BEAT = Duration.ofMillis(500);

  private static final String WORDS_KEY = "last words";

  /** After so long without a beat a rank is taken for gone. */
  private static final Duration SILENCE = Duration.ofSeconds(3);

  /** How long last words are waited for. */
  private static final Duration WORDS = Duration.ofMillis(1500);

  private final WorldEnvironment environment;
  private final RankStore store;
  private final Thread beat;
  private volatile boolean ended;

  /** What the first rank that failed by itself has said; kept, as the store may go with it. */
  private volatile String heard;

  /** Begins to beat. */
  Liveness(WorldEnvironment environment, Duration timeout) {
    this.environment = environment;
    this.store = RankStore.connect(environment, false, min(timeout, Duration.ofSeconds(10)));
    RankStore own = RankStore.connect(environment, false, min(timeout, Duration.ofSeconds(10)));
    this.beat = new Thread(() -> run(own), "heartbeat");
    beat.setDaemon(true);
    beat.start();
  }

  private static Duration min(Duration a, Duration b) {
    return a.compareTo(b) < 0 ? a : b;
  }

  private void run(RankStore own) {
    try {
      while (!ended) {
        own.add(alive(environment.rank()), 1);
        if (heard == null) {
          heard = own.get(WORDS_KEY);
        }
        Thread.sleep(BEAT.toMillis());
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (RuntimeException e) {
      // The store is gone, and with it whoever held it: the next collective says so.
      ended = true;
    }
  }

  private static String alive(int rank) {
    return "alive/" + rank;
  }

  /**
   * Leaves last words, for the others to repeat. Rank 0 stays until they have heard them: it may
   * hold the store.
   */
  synchronized void leave(String sentence) {
    try {
      if (store.add("failures", 1) == 1) {
        store.set(WORDS_KEY, "rank %d failed: %s".formatted(environment.rank(), sentence));
        if (environment.rank() == 0) {
          pause(3 * BEAT.toMillis());
        }
      }
    } catch (RuntimeException e) {
      // The store is gone, and so nobody can read them.
      ended = true;
    }
  }

  /**
   * Why a collective failed.
   *
   * @param failure c10d's
   * @param timeout after which a call is given up
   */
  synchronized RankLostException diagnose(RuntimeException failure, Duration timeout) {
    if (failure instanceof RankLostException known) {
      return known;
    }
    String said = String.valueOf(failure.getMessage()).lines().findFirst().orElse("");
    try {
      String sentence = lastWords(System.nanoTime() + WORDS.toNanos());
      if (sentence == null) {
        sentence = silent();
      }
      if (sentence == null) {
        sentence =
            said.contains("Timed out") || said.contains("timeout")
                ? "a rank did not answer within %s s (--distributed-timeout-minutes): %s"
                    .formatted(RankStore.seconds(timeout), said)
                : "communication failed: " + said;
      }
      return new RankLostException("rank %d: %s".formatted(environment.rank(), sentence), failure);
    } catch (RuntimeException storeGone) {
      if (heard != null) {
        return new RankLostException("rank %d: %s".formatted(environment.rank(), heard), failure);
      }
      String holder = environment.agentStore() ? "the launcher's agent" : "rank 0";
      return new RankLostException(
          "rank %d: %s is gone: it does not answer any more".formatted(environment.rank(), holder),
          failure);
    }
  }

  /** What a rank that failed by itself has said, or null. */
  private String lastWords(long until) {
    do {
      if (heard == null) {
        heard = store.get(WORDS_KEY);
      }
      if (heard != null) {
        return heard;
      }
      pause(100);
    } while (System.nanoTime() < until);
    return null;
  }

  /** The ranks that do not beat any more, or null. */
  private String silent() {
    List<Long> before = beats();
    pause(SILENCE.toMillis());
    List<Long> after = beats();
    List<Integer> silent = new ArrayList<>();
    for (int r = 0; r < environment.size(); r++) {
      if (r != environment.rank() && before.get(r).equals(after.get(r))) {
        silent.add(r);
      }
    }
    if (silent.isEmpty()) {
      return null;
    }
    String ranks = silent.stream().map(String::valueOf).collect(Collectors.joining(", "));
    return "rank%s %s %s gone, without a last word: killed, or the machine or network is down"
        .formatted(silent.size() == 1 ? "" : "s", ranks, silent.size() == 1 ? "is" : "are");
  }

  private List<Long> beats() {
    List<Long> beats = new ArrayList<>();
    for (int r = 0; r < environment.size(); r++) {
      beats.add(store.add(alive(r), 0));
    }
    return beats;
  }

  private static void pause(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void close() {
    ended = true;
    beat.interrupt();
    try {
      beat.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
