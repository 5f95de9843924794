package moe4j.config;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;

/** Collects what is wrong with a command line, so that one answer names it all. */
public final class Faults {
  private final List<String> sentences = new ArrayList<>();

  /** Runs a check and keeps what it refuses. */
  public boolean none(Runnable check) {
    try {
      check.run();
      return true;
    } catch (RefusedLine e) {
      e.sentences().forEach(this::add);
    } catch (IllegalArgumentException e) {
      add(e.getMessage());
    }
    return false;
  }

  /**
   * Makes something of values that may be refused.
   *
   * @param otherwise what there is to go on with where they are
   */
  public <T> T made(Supplier<T> making, T otherwise) {
    AtomicReference<T> made = new AtomicReference<>(otherwise);
    none(() -> made.set(making.get()));
    return made.get();
  }

  /** Keeps a sentence where something is wrong. */
  @SuppressWarnings("AnnotateFormatMethod") // The annotation would be a dependency of every user.
  public void check(boolean wrong, String format, Object... values) {
    if (wrong) {
      add(format.formatted(values));
    }
  }

  /** {@link Ranges#positive}. */
  public void positive(String flag, Number value) {
    none(() -> Ranges.positive(flag, value));
  }

  /** {@link Ranges#notNegative}. */
  public void notNegative(String flag, Number value) {
    none(() -> Ranges.notNegative(flag, value));
  }

  /** {@link Ranges#belowOne}. */
  public void belowOne(String flag, double value) {
    none(() -> Ranges.belowOne(flag, value));
  }

  /** Keeps a sentence, once. */
  void add(String sentence) {
    if (!sentences.contains(sentence)) {
      sentences.add(sentence);
    }
  }

  List<String> sentences() {
    return sentences;
  }

  /**
   * Ends the checks.
   *
   * @throws RefusedLine if anything was refused
   */
  public void refuse() {
    if (!sentences.isEmpty()) {
      throw new RefusedLine(sentences);
    }
  }
}
