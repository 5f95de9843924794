package moe4j.parallel;

import java.util.Collection;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * What lives as long as the process: what c10d was given, and what it gave that is never closed.
 * c10d owns these as well: were the last reference in Java gone, the collector's thread would free
 * them once more, and corrupt the heap.
 */
final class Forever {
  private static final Collection<Object> HELD = new ConcurrentLinkedQueue<>();

  private Forever() {}

  /** The same, from now on out of the collector's reach. */
  static <T> T hold(T object) {
    HELD.add(object);
    return object;
  }
}
