package moe4j.config;

import java.util.List;

/** A command line with faults: all that could be found, a sentence each. */
public final class RefusedLine extends IllegalArgumentException {
  private static final long serialVersionUID = 1;

  private final transient List<String> sentences;

  RefusedLine(List<String> sentences) {
    super(String.join("\n", sentences));
    this.sentences = List.copyOf(sentences);
  }

  /** The faults, a sentence each. */
  public List<String> sentences() {
    return sentences;
  }
}
