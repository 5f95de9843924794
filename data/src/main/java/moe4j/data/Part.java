package moe4j.data;

import java.util.Locale;

/** The three parts of a corpus, named as in Megatron's cache files. */
public enum Part {
  TRAIN,
  VALID,
  TEST;

  /** {@code train}, {@code valid} or {@code test}. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}
