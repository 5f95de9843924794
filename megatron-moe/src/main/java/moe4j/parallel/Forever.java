package moe4j.parallel;

import java.util.Collection;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * Objects that live as long as the process: those that c10d was given, and those that it returned
 * and that are never closed. c10d owns them, too. If Java lost its last reference to one, the
 * garbage collector's thread would free it a second time and corrupt the heap.
 */
final class Forever {
  private static final Collection<Object> HELD = new ConcurrentLinkedQueue<>();

  private Forever() {}

  /** Keeps an object from the garbage collector, and returns it. */
  static <T> T hold(T object) {
    HELD.add(object);
    return object;
  }
}
