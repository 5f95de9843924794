package moe4j.parallel;

import java.util.Arrays;
import java.util.Map;
import java.util.Optional;

/** Environment variables, read with a sentence for what is wrong. One that is blank is not set. */
record Variables(Map<String, String> environment) {
  /** The largest port there is. */
  static final int LAST_PORT = 65_535;

  boolean has(String name) {
    return text(name).isPresent();
  }

  Optional<String> text(String name) {
    return Optional.ofNullable(environment.get(name)).map(String::strip).filter(t -> !t.isEmpty());
  }

  /** The value of the first of these that is set. */
  Optional<String> first(String... names) {
    return Arrays.stream(names).flatMap(name -> text(name).stream()).findFirst();
  }

  /**
   * A whole number that is not negative.
   *
   * @param because the variable that makes this one needed
   */
  int needed(String name, String because) {
    return number(name).orElseThrow(() -> missing(name, because));
  }

  /** A whole number that is not negative, where it is set. */
  Optional<Integer> number(String name) {
    return text(name).map(text -> number(name, text));
  }

  /** A port, where it is set. */
  Optional<Integer> port(String name) {
    Optional<Integer> port = number(name);
    if (port.isPresent() && (port.get() < 1 || port.get() > LAST_PORT)) {
      throw new IllegalArgumentException(
          "%s is %d, but ports are 1 to %d".formatted(name, port.get(), LAST_PORT));
    }
    return port;
  }

  /** A number of processes: one or more. */
  int count(String name, String because) {
    int count = needed(name, because);
    if (count < 1) {
      throw new IllegalArgumentException(
          "%s is %d, but this process is one of them".formatted(name, count));
    }
    return count;
  }

  /** A process's number among {@code size}. */
  int below(String name, String because, String sizeName, int size) {
    int rank = needed(name, because);
    if (rank >= size) {
      throw new IllegalArgumentException(
          "%s is %d, but %s is %d".formatted(name, rank, sizeName, size));
    }
    return rank;
  }

  /** Refuses more processes on this host than there are in all. */
  void refuseMore(String localName, int local, String sizeName, int size) {
    if (local > size) {
      throw new IllegalArgumentException(
          "%s is %d, but %s is %d".formatted(localName, local, sizeName, size));
    }
  }

  /** That a variable is not set, though another is. */
  IllegalArgumentException missing(String name, String because) {
    return new IllegalArgumentException(
        "%s is %s, but %s is not set".formatted(because, text(because).orElse("''"), name));
  }

  private static int number(String name, String text) {
    try {
      int number = Integer.parseInt(text);
      if (number >= 0) {
        return number;
      }
    } catch (NumberFormatException e) {
      // The sentence below says it.
    }
    throw new IllegalArgumentException(
        "%s is '%s', which is no whole number from 0 up".formatted(name, text));
  }
}
