package moe4j.config;

import java.util.ArrayList;
import java.util.List;

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
