package moe4j.record;

import java.util.Locale;

/** How a run ended. */
public enum RunEnd {
  /** All steps were taken. */
  COMPLETE,
  /** A signal, an exit interval or an exit duration ended it. */
  STOPPED;

  /** What the record of a run says of its end. */
  public String word() {
    return name().toLowerCase(Locale.ROOT);
  }
}
